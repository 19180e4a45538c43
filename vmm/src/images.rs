//! The kernel and the initramfs: opened before anything is made, so that a wrong name costs nothing, and loaded once there is memory.

use std::fs::File;

use hull_arch::boot::{self, Entry};
use hull_devices::GuestMemory;
use hull_vm_api::config::{BootSource, HostPath};

use crate::error::StartError;
use crate::files::{Access, Files};

/// The open files.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    source: &'a BootSource,
    kernel: File,
    initrd: Option<(&'a HostPath, File)>,
}

impl<'a> Images<'a> {
    /// Opens what the guest boots.
    ///
    /// # Errors
    /// Which file cannot be opened.
    pub(crate) fn open(source: &'a BootSource, files: &Files) -> Result<Self, StartError> {
        let open = |what, path| {
            files
                .open(what, path, Access::Read)
                .map_err(StartError::KernelFile)
        };
        let initrd = match &source.initrd_path {
            Some(path) => Some((path, open("boot-source.initrd_path", path)?)),
            None => None,
        };
        Ok(Self {
            source,
            kernel: open("boot-source.kernel_image_path", &source.kernel_image_path)?,
            initrd,
        })
    }

    /// Loads both, with the tables that describe the machine, and tells where the guest starts.
    ///
    /// # Errors
    /// What is wrong with one of them, or why it does not fit.
    pub(crate) fn load(
        mut self,
        memory: &GuestMemory,
        command_line: &str,
        mut machine: boot::Machine<'_>,
    ) -> Result<Entry, StartError> {
        let fail = |what, path: &HostPath| {
            let path = path.to_string();
            move |source| StartError::Kernel { what, path, source }
        };
        let size = machine.memory_size;
        let path = &self.source.kernel_image_path;
        let kernel =
            boot::load_kernel(memory, size, &mut self.kernel).map_err(fail("cannot boot", path))?;
        if let Some((path, mut file)) = self.initrd {
            let initrd = boot::load_initrd(memory, size, &kernel, &mut file)
                .map_err(fail("cannot load", path))?;
            machine.initrd = Some(initrd);
        }
        boot::configure(memory, &kernel, command_line, &machine)
            .map_err(fail("cannot boot", path))?;
        Ok(kernel.entry)
    }
}
