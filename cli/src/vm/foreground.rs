//! `hull vm run`: a microVM whose console is this terminal.

use std::io::IsTerminal;
use std::process::ExitCode;

use hull_engine::plain::{Ask, MicroVms, Screen, VmEnd, VmError};
use tokio::sync::mpsc;

use super::spec::SpecArgs;
use super::{FAILED, terminal};
use crate::attach::signals::{INTERRUPT, Signals, WINDOW_CHANGED};

/// Run a microVM in the foreground, and remove it at its end
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys go to the guest as they are typed. Ctrl-] ends the microVM at once; SIGTERM asks the guest to power off,\n\
    a second one ends it.\n\n\
    Exit status: 0 when the guest powered off, 16 when it rebooted, 17 when its kernel panicked, 18 after a triple\n\
    fault, 19 when KVM could not go on, 20 when it was ended by Ctrl-] or a signal, 125 when Hull failed,\n\
    137 when it was killed.\n\n\
    A guest gets its address by DHCP, from its interface itself: distributions ask by themselves, and a bare\n\
    BusyBox by ip link set eth0 up && udhcpc. IPv6 addresses of a network are to be set in the guest; hull vm\n\
    inspect shows them. With passt, all of DHCP, DHCPv6 and router advertisements are there.\n\n\
    Examples:\n  \
    hull vm run --disk root.ext4                             Hull's kernel, a root file system\n  \
    hull vm run --kernel vmlinux --initrd initrd.img -m 1g   another kernel\n  \
    hull vm run --disk root.ext4:ro --cmdline 'quiet init=/bin/sh'\n  \
    hull vm run --disk root.ext4 --net bridge -p 8080:80     the host's port 8080 is the guest's port 80\n  \
    hull vm run --disk root.ext4 --net user -p 8080:80       the same without any privilege\n  \
    hull vm run --from warm                                  go on where a snapshot was taken"
)]
pub(crate) struct Args {
    #[command(flatten)]
    spec: SpecArgs,
}

pub(super) async fn run(args: Args, vms: &MicroVms) -> anyhow::Result<ExitCode> {
    match foreground(args, vms).await {
        Ok(end) => {
            if end.code != 0 || end.suspended {
                anstream::eprintln!("hull: {}", end.reason);
            }
            Ok(ExitCode::from(end.code))
        }
        Err(error) => {
            crate::fail(&error);
            Ok(ExitCode::from(FAILED))
        }
    }
}

async fn foreground(args: Args, vms: &MicroVms) -> anyhow::Result<VmEnd> {
    let mut signals = Signals::listen()?;
    let owned = args.spec.make(vms, true)?;
    let started = {
        let size = terminal::screen_size();
        let start = owned.start(Some(Screen { size }));
        tokio::pin!(start);
        loop {
            tokio::select! {
                started = &mut start => break started,
                signal = signals.next() => if signal != WINDOW_CHANGED {
                    // Dropped, the start ends what it started; the microVM is removed by the next command.
                    break Err(VmError::Unstarted(format!("it was interrupted by signal {signal}")));
                },
            }
        }
    };
    let (running, terminal) = match started {
        Ok(started) => started,
        Err(error) => {
            // Of an interrupted start there may be something left.
            vms.tidy()?;
            return Err(error.into());
        }
    };
    if std::io::stdin().is_terminal() {
        anstream::eprintln!("hull: microVM {} runs; Ctrl-] ends it", running.name());
    }
    let raw = terminal::raw()?;
    let sizes = terminal::Sizes::of(vms, running.name());
    // It may have changed since the start.
    sizes.tell();
    let (asks, asked) = mpsc::unbounded_channel();
    let mut wait = tokio::spawn(running.wait(asked));
    if let Some(terminal) = terminal {
        let keys = terminal::pass_keys(terminal.input);
        let asks = asks.clone();
        tokio::spawn(async move {
            keys.await;
            let _ = asks.send(Ask::End);
        });
        tokio::spawn(terminal::show(terminal.output));
    }
    let end = loop {
        tokio::select! {
            end = &mut wait => break end?,
            signal = signals.next() => match signal {
                WINDOW_CHANGED => sizes.tell(),
                INTERRUPT => drop(asks.send(Ask::End)),
                _ => drop(asks.send(Ask::PowerOff)),
            },
        }
    };
    drop(raw);
    Ok(end)
}
