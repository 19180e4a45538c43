//! Guests made by hand: kernels of a few instructions, which start in 64-bit mode with the first GiB mapped to itself, and an
//! initramfs for a real kernel.

/// Where page directory entries for addresses from 512 MiB are: a guest without so much memory makes windows there.
const WINDOW_ENTRY: u32 = 0xb000 + 8 * 256;
/// The address of the first window of 2 MiB.
pub(crate) const WINDOW: u32 = 512 << 20;

/// Machine code, put together instruction by instruction.
#[derive(Debug, Default, Clone)]
pub(crate) struct Code(pub(crate) Vec<u8>);

impl Code {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// `mov dx, port; mov al, value; out dx, al`
    pub(crate) fn out(self, port: u16, value: u8) -> Self {
        self.bytes(&[0x66, 0xba])
            .bytes(&port.to_le_bytes())
            .bytes(&[0xb0, value, 0xee])
    }

    /// Writes eight bytes to an address below 2 GiB.
    pub(crate) fn store(self, address: u32, value: u64) -> Self {
        self.bytes(&[0x48, 0xb8])
            .bytes(&value.to_le_bytes())
            .bytes(&[0x48, 0x89, 0x04, 0x25])
            .bytes(&address.to_le_bytes())
    }

    /// Maps 2 MiB of physical memory at [`WINDOW`], uncached.
    pub(crate) fn window(self, physical: u64) -> Self {
        self.store(WINDOW_ENTRY, physical | 0x93)
    }

    /// Prints on COM1.
    pub(crate) fn print(self, text: &str) -> Self {
        text.bytes().fold(self, |code, byte| code.out(0x3f8, byte))
    }

    /// Waits until a byte has a value.
    pub(crate) fn await_byte(self, address: u32, value: u8) -> Self {
        self.bytes(&[0x80, 0x3c, 0x25]) // again: cmp byte [address], value
            .bytes(&address.to_le_bytes())
            .bytes(&[value, 0x75, 0xf6]) // jne again
    }

    pub(crate) fn power_off(self) -> Vec<u8> {
        self.out(0x505, 4).spin()
    }

    /// `jmp $`
    pub(crate) fn spin(self) -> Vec<u8> {
        self.bytes(&[0xeb, 0xfe]).0
    }
}

/// Bytes of headers before the code: the ELF header and a program header.
const HEADERS: u32 = 64 + 56;

/// A static 64-bit ELF file that is loaded whole at `base` and entered at its code.
pub(crate) fn elf(base: u32, code: &[u8]) -> Vec<u8> {
    let size = u64::from(HEADERS) + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(2_u16.to_le_bytes()); // ET_EXEC
    file.extend(62_u16.to_le_bytes()); // EM_X86_64
    file.extend(1_u32.to_le_bytes());
    file.extend(u64::from(base + HEADERS).to_le_bytes());
    file.extend(64_u64.to_le_bytes()); // the program header follows
    file.extend(0_u64.to_le_bytes()); // no sections
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes()); // PT_LOAD
    file.extend(7_u32.to_le_bytes()); // read, write, execute
    for field in [0, u64::from(base), u64::from(base), size, size, 4] {
        file.extend(field.to_le_bytes());
    }
    file.extend(code);
    file
}

/// What init of [`initramfs`] does after its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    PowerOff,
    /// Ends, at which Linux panics.
    Exit,
}

/// Where init is loaded.
const INIT_BASE: u32 = 0x40_0000;
/// What init of [`initramfs`] prints; the zero becomes the mask of the CPUs that it may use, as a digit.
const LINE: &str = "init runs on CPUs 0\n";

/// An uncompressed newc cpio with `/dev/console` and `/init`, which prints a line and ends the machine.
pub(crate) fn initramfs(then: Then) -> Vec<u8> {
    let base = INIT_BASE;
    let text_at = 128; // behind the instructions
    let text = base + HEADERS + text_at;
    let length = u32::try_from(LINE.len()).unwrap();
    let (digit, mask) = (text + length - 2, text + length + 8);
    let mov = |register: u8, value: u32| [&[register][..], &value.to_le_bytes()].concat();
    let (eax, edx, esi, edi) = (0xb8, 0xba, 0xbe, 0xbf);
    let call = |number| [mov(eax, number), vec![0x0f, 0x05]].concat();
    let mut code = [
        mov(edi, 0),
        mov(esi, 8),
        mov(edx, mask),
        call(204),                                                // sched_getaffinity
        [&[0x8a, 0x04, 0x25], &mask.to_le_bytes()[..]].concat(),  // mov al, [mask]
        [&[0x00, 0x04, 0x25], &digit.to_le_bytes()[..]].concat(), // add [digit], al
        mov(edi, 1),
        mov(esi, text),
        mov(edx, length),
        call(1), // write
        mov(edi, 1),
        mov(esi, 0x5409),
        mov(edx, 1),
        call(16), // ioctl TCSBRK: wait until it is out
    ]
    .concat();
    let command = match then {
        Then::PowerOff => Some(0x4321_fedc),
        Then::Exit => None,
    };
    code.extend(match command {
        Some(command) => [
            mov(edi, 0xfee1_dead),
            mov(esi, 672_274_793),
            mov(edx, command),
            call(169), // reboot
        ]
        .concat(),
        None => call(60), // exit
    });
    code.resize(text_at as usize, 0x90);
    code.extend(LINE.as_bytes());
    code.extend([0; 16]); // the mask
    initramfs_of(&code)
}

/// The same with another init, whose code works at any address.
pub(crate) fn initramfs_of(code: &[u8]) -> Vec<u8> {
    let mut cpio = Vec::new();
    entry(&mut cpio, "dev", 0o040_755, (0, 0), &[]);
    entry(&mut cpio, "dev/console", 0o020_600, (5, 1), &[]);
    entry(&mut cpio, "init", 0o100_755, (0, 0), &elf(INIT_BASE, code));
    entry(&mut cpio, "TRAILER!!!", 0, (0, 0), &[]);
    cpio
}

/// One entry of a newc archive (Linux's `Documentation/driver-api/early-userspace/buffer-format.rst`).
fn entry(cpio: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
    let inode = u32::try_from(cpio.len()).unwrap();
    let length = |bytes: usize| u32::try_from(bytes).unwrap();
    cpio.extend(b"070701");
    let (size, name_size) = (length(content.len()), length(name.len() + 1));
    for field in [
        inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0,
    ] {
        cpio.extend(format!("{field:08x}").as_bytes());
    }
    cpio.extend(name.as_bytes());
    cpio.push(0);
    cpio.resize(cpio.len().next_multiple_of(4), 0);
    cpio.extend(content);
    cpio.resize(cpio.len().next_multiple_of(4), 0);
}
