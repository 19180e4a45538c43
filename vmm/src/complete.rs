//! What goes without saying: a client that knows Firecracker has a serial port when its kernel uses one, and no client knows what
//! this host's KVM wants of kernels.

use hull_vm_api::VmConfig;
use hull_vm_api::config::{BootSource, Serial};

/// The configuration that the machine is made from. What clients are shown stays as they wrote it.
///
/// `host_args` comes before the arguments that the configuration has, which can so take it back. Where those make the kernel
/// write to `ttyS0` there is a serial port on standard output, as Firecracker always has one; other machines are spared the
/// time that Linux takes to look at it.
#[must_use]
pub(crate) fn complete(mut config: VmConfig, host_args: &str) -> VmConfig {
    let given = config.boot_source.boot_args.clone();
    let given = given.unwrap_or_else(|| BootSource::DEFAULT_ARGS.to_owned());
    if config.serial.is_none() && writes_to_serial(&given) {
        config.serial = Some(Serial::default());
    }
    if !host_args.is_empty() {
        config.boot_source.boot_args = Some(format!("{host_args} {given}"));
    }
    config
}

fn writes_to_serial(args: &str) -> bool {
    let mut words = args
        .split_ascii_whitespace()
        .take_while(|word| *word != "--");
    words.any(|word| {
        let console = word.strip_prefix("console=");
        let console = console.or_else(|| word.strip_prefix("earlyprintk="));
        console.is_some_and(|console| console.split(',').any(|part| part == "ttyS0"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &str, more: &str) -> VmConfig {
        let json = format!(
            r#"{{"boot-source": {{"kernel_image_path": "k", "boot_args": "{args}"}} {more}}}"#
        );
        VmConfig::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_kernel_that_writes_to_a_serial_port_has_one() {
        for args in [
            "console=ttyS0",
            "quiet console=ttyS0,115200n8 x",
            "earlyprintk=serial,ttyS0,115200",
        ] {
            assert!(complete(config(args, ""), "").serial.is_some(), "{args}");
        }
        for args in [
            "",
            "console=hvc0",
            "console=ttyS01",
            "a=console=ttyS0",
            "-- console=ttyS0",
        ] {
            assert!(complete(config(args, ""), "").serial.is_none(), "{args}");
        }
        let own = config("console=ttyS0", r#", "serial": {"serial_out_path": "/s"}"#);
        assert_eq!(complete(own.clone(), "").serial, own.serial);
    }

    #[test]
    fn what_the_host_wants_comes_before_what_the_client_says() {
        let args = |config: &VmConfig| config.boot_source.boot_args.clone();
        let plain = config("quiet -- init", "");
        assert_eq!(args(&complete(plain.clone(), "")), args(&plain));
        assert_eq!(
            args(&complete(plain.clone(), "a b")).unwrap(),
            "a b quiet -- init"
        );
        let mut silent = plain;
        silent.boot_source.boot_args = None;
        let told = args(&complete(silent, "a")).unwrap();
        assert_eq!(told, format!("a {}", BootSource::DEFAULT_ARGS));
    }
}
