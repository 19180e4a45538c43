//! What a guest sees of a shared directory, and what it must not.

mod attributes;
mod client;
mod directories;
mod escape;
mod files;
mod hostile;
mod kernel;
mod limits;
mod locks;
mod names;
mod place;
mod read_only;
mod reply;
mod restore;
mod setup;
mod xattrs;

use rustix::io::Errno;

use self::client::{Client, LINUX_FLAGS, O_RDWR, ROOT};
use self::place::{Place, backend, config};
use super::Fs;
use crate::testing::{Driver, Fixture, lifecycle_suite};
use crate::{DeviceState, VirtioDevice};

/// An error's number, as it comes back from [`Client::call`].
fn number(error: Errno) -> i32 {
    error.raw_os_error()
}

/// The device of a client as it was saved.
fn restored(state: &DeviceState, place: &Place) -> Fs {
    let DeviceState::Fs(state) = state else {
        panic!("{state:?}");
    };
    Fs::restore(config(), state, backend(&place.share())).unwrap()
}

impl Fixture for Place {
    fn new() -> Self {
        Self::new()
    }

    fn device(&mut self) -> Box<dyn VirtioDevice> {
        Box::new(Fs::new(config(), backend(&self.share())).unwrap())
    }

    fn restore(&mut self, state: &DeviceState) -> Box<dyn VirtioDevice> {
        Box::new(restored(state, self))
    }

    fn use_it(&mut self, driver: &mut Driver) {
        let mut client = Client::over(driver);
        client.init(LINUX_FLAGS);
        let (entry, fh) = client.create(ROOT, "file", O_RDWR, 0o644).unwrap();
        client.put(entry.node, fh, 0, b"contents").unwrap();
        assert_eq!(client.read(entry.node, fh, 0, 4096).unwrap(), b"contents");
        client.release(entry.node, fh).unwrap();
        client.unlink(ROOT, "file").unwrap();
        client.forget(entry.node, 1);
    }
}

lifecycle_suite!(lifecycle, Place);
