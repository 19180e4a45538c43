//! What is behind a network interface: a TAP device by its name, or descriptors that were handed over.

use std::os::fd::OwnedFd;

use hull_devices::net::{NetError, Port, Stream, Tap};
use hull_vm_api::config::{NetworkBackend, NetworkInterface};

use crate::error::StartError;
use crate::files::{Access, Files};

/// The descriptors of an interface, one for each pair of queues.
///
/// Of `fd:NAME`, the others are `fd:NAME.1`, `fd:NAME.2` and so on.
pub(super) fn open(interface: &NetworkInterface, files: &Files) -> Result<Vec<Port>, StartError> {
    let failed = |source: NetError| StartError::Net {
        id: interface.iface_id.clone(),
        source,
    };
    let name = &interface.host_dev_name;
    let many = interface.queues > 1;
    let open = |queue: u8| {
        let fd: OwnedFd = match name.as_fd() {
            Some(_) => {
                let what = "network-interfaces.host_dev_name";
                let path = name.of_queue(queue);
                files.open(what, &path, Access::ReadWrite)?.into()
            }
            None => files.tap(name, many)?,
        };
        Ok(match interface.backend {
            NetworkBackend::Tap => Tap::new(fd).map_err(|error| failed(error.into()))?.into(),
            NetworkBackend::Stream => Stream::new(fd)
                .map_err(|error| failed(error.into()))?
                .into(),
        })
    };
    (0..interface.queues).map(open).collect()
}
