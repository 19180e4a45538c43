//! Devices as they were saved, for those that are to become them again.

use std::error::Error;

use hull_devices::{DeviceState, TransportState};

use super::Name;
use crate::error::StartError;
use crate::snapshot::format::v1::Device;

/// What was saved, in the order in which devices are made; none if they are new.
#[derive(Debug)]
pub(super) struct SavedDevices<'a> {
    rest: Option<std::slice::Iter<'a, Device>>,
}

impl<'a> SavedDevices<'a> {
    pub(super) fn new(saved: Option<&'a [Device]>) -> Self {
        Self {
            rest: saved.map(<[Device]>::iter),
        }
    }

    /// What was saved of the device that is made next.
    ///
    /// # Errors
    /// If another one was saved, or none.
    pub(super) fn next(&mut self, name: &Name) -> Result<Option<&'a TransportState>, StartError> {
        let Some(rest) = &mut self.rest else {
            return Ok(None);
        };
        match rest.next() {
            Some(device) if device.name == name.to_string() => Ok(Some(&device.transport)),
            _ => Err(other(name)),
        }
    }

    /// All devices are made.
    ///
    /// # Errors
    /// If more were saved.
    pub(super) fn end(self) -> Result<(), StartError> {
        match self.rest.and_then(|mut rest| rest.next()) {
            None => Ok(()),
            Some(device) => Err(StartError::SavedDevice(
                device.name.escape_debug().to_string(),
            )),
        }
    }
}

/// The device itself.
pub(super) fn device(transport: Option<&TransportState>) -> Option<&DeviceState> {
    transport.map(|transport| &transport.device)
}

/// The configuration has this device, and the state another one in its place.
pub(super) fn other(name: &Name) -> StartError {
    StartError::SavedDevice(name.to_string())
}

/// What is behind the device cannot be what was.
pub(super) fn unlike(name: &Name, error: impl Error + Send + Sync + 'static) -> StartError {
    StartError::Restore {
        device: name.to_string(),
        source: Box::new(error),
    }
}
