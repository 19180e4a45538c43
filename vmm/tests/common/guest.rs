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

    /// Writes two bytes to an address below 2 GiB.
    pub(crate) fn store16(self, address: u32, value: u16) -> Self {
        self.bytes(&[0x66, 0xc7, 0x04, 0x25])
            .bytes(&address.to_le_bytes())
            .bytes(&value.to_le_bytes())
    }

    /// Writes four bytes to an address below 2 GiB.
    pub(crate) fn store32(self, address: u32, value: u32) -> Self {
        self.bytes(&[0xc7, 0x04, 0x25])
            .bytes(&address.to_le_bytes())
            .bytes(&value.to_le_bytes())
    }

    /// Writes bytes, and zeros behind them up to a multiple of eight.
    pub(crate) fn data(self, address: u32, bytes: &[u8]) -> Self {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let places = (address..).step_by(8);
        places
            .zip(words)
            .fold(self, |code, (at, word)| code.store(at, word))
    }

    /// Copies four bytes between addresses below 2 GiB.
    pub(crate) fn copy32(self, from: u32, to: u32) -> Self {
        self.bytes(&[0x8b, 0x04, 0x25]) // mov eax, [from]
            .bytes(&from.to_le_bytes())
            .bytes(&[0x89, 0x04, 0x25]) // mov [to], eax
            .bytes(&to.to_le_bytes())
    }

    /// Waits until four bytes have one of these bits.
    pub(crate) fn await_bits(self, address: u32, bits: u32) -> Self {
        self.bytes(&[0xf7, 0x04, 0x25]) // again: test dword [address], bits
            .bytes(&address.to_le_bytes())
            .bytes(&bits.to_le_bytes())
            .bytes(&[0x74, 0xf3]) // jz again
    }

    /// Maps 2 MiB of physical memory at [`WINDOW`], uncached.
    pub(crate) fn window(self, physical: u64) -> Self {
        self.store(WINDOW_ENTRY, physical | 0x93)
    }

    /// Prints on COM1.
    pub(crate) fn print(self, text: &str) -> Self {
        text.bytes().fold(self, |code, byte| code.out(0x3f8, byte))
    }

    /// Waits for a key on COM1.
    pub(crate) fn await_key(self) -> Self {
        // mov dx, 0x3fd; again: in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx
        self.bytes(&[
            0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 1, 0x74, 0xfb, 0x66, 0xba, 0xf8, 0x03, 0xec,
        ])
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

/// A virtio device that a guest drives: its registers are in the window, its queues somewhere in memory.
#[derive(Debug)]
pub(crate) struct Driven {
    registers: u32,
    /// Queue i is in the 4 KiB from here plus i times 4 KiB: descriptors, available ring, used ring.
    queues: u32,
    /// Descriptors and requests of each queue so far.
    used: [(u16, u16); 4],
}

const QUEUE_SIZE: u16 = 64;
const AVAILABLE: u32 = 0x400;
const USED: u32 = 0x800;

impl Driven {
    /// The device in this slot.
    pub(crate) fn new(slot: u32, queues: u32) -> Self {
        Self {
            registers: WINDOW + slot * 0x1000,
            queues,
            used: [(0, 0); 4],
        }
    }

    fn queue(&self, index: u32) -> u32 {
        self.queues + index * 0x1000
    }

    /// Initialises it, with so many queues.
    pub(crate) fn start(&self, code: Code, queues: u32) -> Code {
        let set =
            |code: Code, register: u32, value: u32| code.store32(self.registers + register, value);
        let mut code = [0, 1, 3]
            .into_iter()
            .fold(code, |code, status| set(code, 0x70, status));
        // VIRTIO_F_VERSION_1, which is bit 32, and nothing else.
        for (register, value) in [(0x24, 1), (0x20, 1), (0x24, 0), (0x20, 0), (0x70, 11)] {
            code = set(code, register, value);
        }
        for index in 0..queues {
            let base = self.queue(index);
            code = set(code, 0x30, index);
            code = set(code, 0x38, QUEUE_SIZE.into());
            for (register, place) in [(0x80, base), (0x90, base + AVAILABLE), (0xa0, base + USED)] {
                code = set(code, register, place);
                code = set(code, register + 4, 0);
            }
            code = set(code, 0x44, 1);
        }
        set(code, 0x70, 15)
    }

    /// Offers a request: address, length, and whether the device writes, of each buffer.
    pub(crate) fn request(&mut self, code: Code, queue: u32, buffers: &[(u32, u32, bool)]) -> Code {
        let base = self.queue(queue);
        let (descriptors, requests) = &mut self.used[queue as usize];
        let head = *descriptors;
        let mut code = code;
        for (index, (address, length, writes)) in buffers.iter().enumerate() {
            let last = index + 1 == buffers.len();
            let flags = u64::from(!last) | u64::from(*writes) << 1;
            let next = u64::from(*descriptors) + 1;
            let place = base + u32::from(*descriptors) * 16;
            code = code.store(place, u64::from(*address));
            code = code.store(place + 8, u64::from(*length) | flags << 32 | next << 48);
            *descriptors += 1;
        }
        let entry = base + AVAILABLE + 4 + u32::from(*requests) * 2;
        *requests += 1;
        assert!(*descriptors <= QUEUE_SIZE);
        code.store16(entry, head)
            .store16(base + AVAILABLE + 2, *requests)
            .store32(self.registers + 0x50, queue)
    }

    /// Waits until all requests of a queue are done.
    pub(crate) fn await_all(&self, code: Code, queue: u32) -> Code {
        let (_, requests) = self.used[queue as usize];
        let count = requests.to_le_bytes()[0];
        code.await_byte(self.queue(queue) + USED + 2, count)
    }

    /// Resets it.
    pub(crate) fn reset(&self, code: Code) -> Code {
        code.store32(self.registers + 0x70, 0)
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

/// The same with data at a higher address.
pub(crate) fn elf_with(base: u32, code: &[u8], data_at: u32, data: &[u8]) -> Vec<u8> {
    let mut whole = code.to_vec();
    let gap = (data_at - base - HEADERS) as usize;
    assert!(whole.len() <= gap, "{} bytes of code", whole.len());
    whole.resize(gap, 0);
    whole.extend(data);
    elf(base, &whole)
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
    initramfs_with(&elf(INIT_BASE, code), &[])
}

/// An initramfs with this file as its init, and programs in `/bin`. Programs of the host run, too, once its `/usr` is mounted at `/usr`.
pub(crate) fn initramfs_with(init: &[u8], programs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut cpio = Vec::new();
    for directory in ["dev", "proc", "sys", "bin", "mnt", "tmp", "usr"] {
        entry(&mut cpio, directory, 0o040_755, (0, 0), &[]);
    }
    entry(&mut cpio, "dev/console", 0o020_600, (5, 1), &[]);
    for name in ["lib", "lib64"] {
        let there = format!("usr/{name}");
        entry(&mut cpio, name, 0o120_777, (0, 0), there.as_bytes());
    }
    for (name, program) in programs {
        entry(
            &mut cpio,
            &format!("bin/{name}"),
            0o100_755,
            (0, 0),
            program,
        );
    }
    entry(&mut cpio, "init", 0o100_755, (0, 0), init);
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
