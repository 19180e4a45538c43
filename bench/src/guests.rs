//! Guests made by hand: a kernel of two instructions that stops at once, and an initramfs whose init prints a
//! line and sleeps. Every contestant boots the same bytes.

/// What [`initramfs`]'s init prints.
pub(crate) const READY: &str = "init is ready";

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// `XEN_ELFNOTE_PHYS32_ENTRY`: where a PVH loader enters (Xen's `public/elfnote.h`).
const PHYS32_ENTRY: u32 = 18;

/// An ELF kernel that resets the machine by the keyboard controller, and by a triple fault where there is
/// none. The bytes mean the same in 64-bit mode (Linux boot protocol) and in 32-bit mode (PVH).
pub(crate) fn stopping_kernel() -> Vec<u8> {
    let code = [
        0xb0, 0xfe, // mov al, 0xfe
        0xe6, 0x64, // out 0x64, al
        0x0f, 0x0b, // ud2, with no handler for it nor for the fault that follows
    ];
    elf(0x10_0000, &code, true)
}

/// An ELF kernel that sleeps for ever.
pub(crate) fn sleeping_kernel() -> Vec<u8> {
    let code = [
        0xf4, // hlt
        0xeb, 0xfd, // and again
    ];
    elf(0x10_0000, &code, true)
}

/// An uncompressed newc cpio with `/dev/console` and `/init`, which prints [`READY`] and sleeps for ever.
pub(crate) fn initramfs() -> Vec<u8> {
    let line = format!("{READY}\n");
    let base = 0x40_0000_u32;
    let mut code = Vec::new();
    let text_at = base + ELF_HEADERS + 36; // right behind the instructions
    code.extend([0xb8, 1, 0, 0, 0]); // mov eax, SYS_write
    code.extend([0xbf, 1, 0, 0, 0]); // mov edi, 1
    code.push(0xbe); // mov esi, line
    code.extend(text_at.to_le_bytes());
    code.push(0xba); // mov edx, its length
    code.extend(u32::try_from(line.len()).unwrap_or(0).to_le_bytes());
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xb8, 34, 0, 0, 0]); // mov eax, SYS_pause
    code.extend([0x0f, 0x05]); // syscall
    code.extend([0xeb, 0xf7]); // and again
    code.resize(36, 0x90);
    code.extend(line.as_bytes());

    let mut cpio = Vec::new();
    entry(&mut cpio, "dev", 0o040_755, (0, 0), &[]);
    entry(&mut cpio, "dev/console", 0o020_600, (5, 1), &[]);
    entry(
        &mut cpio,
        "init",
        0o100_755,
        (0, 0),
        &elf(base, &code, false),
    );
    entry(&mut cpio, "TRAILER!!!", 0, (0, 0), &[]);
    cpio
}

/// Bytes of headers before the code: the ELF header and room for two program headers and a note.
const ELF_HEADERS: u32 = 64 + 2 * 56 + 24;

/// A static 64-bit ELF file that is loaded whole at `base` and entered at its code.
fn elf(base: u32, code: &[u8], pvh: bool) -> Vec<u8> {
    let entry = base + ELF_HEADERS;
    let size = u64::from(ELF_HEADERS) + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(2_u16.to_le_bytes()); // ET_EXEC
    file.extend(62_u16.to_le_bytes()); // EM_X86_64
    file.extend(1_u32.to_le_bytes());
    file.extend(u64::from(entry).to_le_bytes());
    file.extend(64_u64.to_le_bytes()); // program headers follow
    file.extend(0_u64.to_le_bytes()); // no sections
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, if pvh { 2 } else { 1 }, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    program_header(&mut file, PT_LOAD, 0, u64::from(base), size);
    let note = u64::from(ELF_HEADERS) - 24;
    program_header(&mut file, PT_NOTE, note, u64::from(base) + note, 20);
    for word in [4, 4, PHYS32_ENTRY] {
        file.extend(word.to_le_bytes());
    }
    file.extend(b"Xen\0");
    file.extend(entry.to_le_bytes());
    file.extend([0; 4]);
    file.extend(code);
    file
}

fn program_header(file: &mut Vec<u8>, kind: u32, offset: u64, address: u64, size: u64) {
    file.extend(kind.to_le_bytes());
    file.extend(7_u32.to_le_bytes()); // read, write, execute
    for field in [offset, address, address, size, size, 4] {
        file.extend(field.to_le_bytes());
    }
}

/// One entry of a newc archive (Linux's `Documentation/driver-api/early-userspace/buffer-format.rst`).
fn entry(cpio: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
    let inode = u32::try_from(cpio.len()).unwrap_or(0);
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
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
