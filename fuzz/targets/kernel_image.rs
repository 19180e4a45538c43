//! Kernels that a user may name: ELF files with notes, and bzImages; loaded, and entered as far as the tables go.
#![no_main]

use std::io::Cursor;

use hull_arch::boot::{self, Machine};
use hull_arch::topology::Topology;
use vm_memory::{GuestAddress, GuestMemoryMmap};

const SIZE: usize = 64 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let memory: GuestMemoryMmap<()> =
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), SIZE)]).unwrap();
    let size = SIZE as u64;
    let Ok(kernel) = boot::load_kernel(&memory, size, &mut Cursor::new(data)) else {
        return;
    };
    let initrd = boot::load_initrd(&memory, size, &kernel, &mut Cursor::new(data)).ok();
    let machine = Machine {
        memory_size: size,
        topology: Topology::new(2, false),
        initrd,
        devices: &[],
        serial: data.len().is_multiple_of(2),
        seed: [7; 32],
        generation: [8; 16],
    };
    let _ = boot::configure(&memory, &kernel, "console=ttyS0", &machine);
});
