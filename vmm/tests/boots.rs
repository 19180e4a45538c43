//! Every kind of kernel file, with and without an initramfs: kernels of a few instructions that print the initramfs which they were
//! told of, and Linux.

mod common;

use std::fs;

use common::guest::{Code, Then, elf, initramfs};
use common::{Ended, Vm, guest_file, no_kvm};
use hull_vm_api::ExitCause;
use serde_json::json;

/// Where kernels are loaded.
const BASE: u32 = 0x10_0000;
/// Of a bzImage's second part, where its 64-bit code begins.
const ENTRY_64: usize = 0x200;
/// The sectors before that part.
const SETUP: usize = 1024;

/// By the 64-bit Linux protocol: prints the initramfs between brackets, with what `boot_params` says of it.
fn linux_64() -> Vec<u8> {
    Code::new()
        .print("[")
        .bytes(&[0x8b, 0x8e, 0x1c, 0x02, 0x00, 0x00]) // mov ecx, [rsi + ramdisk_size]
        .bytes(&[0x8b, 0xb6, 0x18, 0x02, 0x00, 0x00]) // mov esi, [rsi + ramdisk_image]
        .bytes(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .bytes(&[0xe3, 0x06]) // again: jrcxz to the end
        .bytes(&[0xac, 0xee, 0xff, 0xc9, 0xeb, 0xf8]) // lodsb; out dx, al; dec ecx; jmp again
        .print("]\n")
        .power_off()
}

/// The same by PVH, in 32-bit mode, with what `hvm_start_info` says.
fn pvh() -> Vec<u8> {
    Code::new()
        .print("[")
        .bytes(&[0x8b, 0x4b, 0x0c]) // mov ecx, [ebx + nr_modules]
        .bytes(&[0xe3, 0x13]) // jecxz to the end
        .bytes(&[0x8b, 0x73, 0x10]) // mov esi, [ebx + modlist_paddr]
        .bytes(&[0x8b, 0x4e, 0x08]) // mov ecx, [esi + size]
        .bytes(&[0x8b, 0x36]) // mov esi, [esi + paddr]
        .bytes(&[0x66, 0xba, 0xf8, 0x03]) // mov dx, 0x3f8
        .bytes(&[0xe3, 0x05]) // again: jecxz to the end
        .bytes(&[0xac, 0xee, 0x49, 0xeb, 0xf9]) // lodsb; out dx, al; dec ecx; jmp again
        .print("]\n")
        .power_off()
}

/// An ELF file with a note that names its code as the PVH entry.
fn elf_with_note(code: &[u8]) -> Vec<u8> {
    const PROGRAM_HEADER: usize = 56;
    let mut file = elf(BASE, code);
    let headers = 64 + PROGRAM_HEADER;
    // A second program header before the code moves that, and what points to it.
    let start = BASE + u32::try_from(headers + PROGRAM_HEADER).unwrap();
    let size = u64::try_from(file.len() + PROGRAM_HEADER).unwrap();
    file[24..32].copy_from_slice(&u64::from(start).to_le_bytes());
    file[56] = 2;
    for at in [64 + 32, 64 + 40] {
        file[at..at + 8].copy_from_slice(&size.to_le_bytes());
    }
    // The name's and the content's size, the kind; the name; the content.
    let mut note = Vec::new();
    for word in [4_u32, 4, 18] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend(start.to_le_bytes());
    let mut header = Vec::new();
    header.extend(4_u32.to_le_bytes()); // PT_NOTE
    header.extend(4_u32.to_le_bytes());
    let length = note.len() as u64;
    for field in [size, 0, 0, length, length, 4] {
        header.extend(field.to_le_bytes());
    }
    file.splice(headers..headers, header);
    file.extend(note);
    file
}

/// A bzImage (Linux's `Documentation/arch/x86/boot.rst`) whose second part is this code at its 64-bit entry, and `behind`, which
/// is at `offset` in that part.
fn bzimage(code: &[u8], offset: usize, behind: &[u8]) -> Vec<u8> {
    let mut file = vec![0; SETUP];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]); // setup_sects: one besides the first
    put(0x1fe, &[0x55, 0xaa]);
    put(0x200, &[0xeb, 0x66]); // over the header
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x211, &[1]); // LOADED_HIGH
    put(0x214, &BASE.to_le_bytes()); // code32_start
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes()); // initrd_addr_max
    put(0x230, &0x1000_u32.to_le_bytes()); // kernel_alignment
    put(0x236, &1_u16.to_le_bytes()); // xloadflags: XLF_KERNEL_64
    put(0x238, &2047_u32.to_le_bytes()); // cmdline_size
    put(0x258, &u64::from(BASE).to_le_bytes()); // pref_address
    let whole = (offset + behind.len()).max(ENTRY_64 + code.len());
    let whole = whole.next_multiple_of(4096);
    put(0x1f4, &u32::try_from(whole / 16).unwrap().to_le_bytes()); // syssize
    put(0x260, &u32::try_from(whole).unwrap().to_le_bytes()); // init_size
    file.resize(SETUP + whole, 0);
    file[SETUP + ENTRY_64..][..code.len()].copy_from_slice(code);
    file[SETUP + offset..][..behind.len()].copy_from_slice(behind);
    file
}

#[test]
fn every_kind_of_kernel_boots_with_and_without_an_initramfs() {
    if no_kvm() {
        return;
    }
    let kernels = [
        ("ELF", elf(BASE, &linux_64())),
        ("PVH", elf_with_note(&pvh())),
        ("bzImage", bzimage(&linux_64(), 0, &[])),
    ];
    for (kind, kernel) in kernels {
        let vm = Vm::empty().serial();
        fs::write(vm.path("kernel"), kernel).unwrap();
        let ended = vm.run();
        assert_eq!(ended.cause(), ExitCause::PowerOff, "{kind}: {ended:?}");
        assert_eq!(ended.stdout, "[]\n", "{kind}");

        let initramfs = "an initramfs of odd length; ".repeat(199);
        let path = vm.path("initrd");
        fs::write(&path, &initramfs).unwrap();
        let vm = vm.set("/boot-source/initrd_path", json!(path));
        let ended = vm.run();
        assert_eq!(ended.cause(), ExitCause::PowerOff, "{kind}: {ended:?}");
        assert!(ended.stdout == format!("[{initramfs}]\n"), "{kind}");
    }
}

/// A piece of an ELF kernel.
struct Segment {
    at: u64,
    bytes: Vec<u8>,
    /// Bytes in memory.
    size: u64,
}

/// What is to be loaded of an ELF file.
fn segments(file: &[u8]) -> Vec<Segment> {
    let field = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let index = |at: usize| usize::try_from(field(at)).unwrap();
    let count = usize::from(file[56]);
    let headers = (0..count).map(|number| index(32) + 56 * number);
    let loaded = headers.filter(|at| file[*at..at + 4] == [1, 0, 0, 0]);
    let segment = |at: usize| Segment {
        at: field(at + 24),
        bytes: file[index(at + 8)..][..index(at + 32)].to_vec(),
        size: field(at + 40),
    };
    loaded.map(segment).collect()
}

/// A bzImage around an ELF kernel, with code in place of the decompressor that moves the kernel to where it belongs and enters it.
fn linux_as_bzimage(elf: &[u8]) -> Vec<u8> {
    let segments = segments(elf);
    let end = segments
        .iter()
        .map(|segment| segment.at + segment.size)
        .max();
    // Behind everything that the kernel will be.
    let offset = usize::try_from(end.unwrap().next_multiple_of(4096)).unwrap() - BASE as usize;
    let mut payload = Vec::new();
    let mut code = Code::new().bytes(&[0x49, 0x89, 0xf7]); // mov r15, rsi
    for segment in segments {
        let from = BASE as usize + offset + payload.len();
        payload.extend(&segment.bytes);
        payload.resize(payload.len().next_multiple_of(8), 0);
        let words = (segment.bytes.len() as u64).div_ceil(8);
        let zeros = segment.size.div_ceil(8) - words;
        code = code
            .bytes(&[0x48, 0xbe]) // mov rsi, from
            .bytes(&from.to_le_bytes())
            .bytes(&[0x48, 0xbf]) // mov rdi, to
            .bytes(&segment.at.to_le_bytes())
            .bytes(&[0x48, 0xb9]) // mov rcx, words
            .bytes(&words.to_le_bytes())
            .bytes(&[0xf3, 0x48, 0xa5]) // rep movsq
            .bytes(&[0x31, 0xc0]) // xor eax, eax
            .bytes(&[0x48, 0xb9]) // mov rcx, zeros
            .bytes(&zeros.to_le_bytes())
            .bytes(&[0xf3, 0x48, 0xab]); // rep stosq
    }
    let code = code
        .bytes(&[0x4c, 0x89, 0xfe]) // mov rsi, r15
        .bytes(&[0x48, 0xb8]) // mov rax, the entry
        .bytes(&elf[24..32])
        .bytes(&[0xff, 0xe0]); // jmp rax
    bzimage(&code.0, offset, &payload)
}

/// Boots Linux of this file.
fn linux(kernel: &[u8], initramfs: Option<&[u8]>) -> Ended {
    let profile = hull_vmm::probe::run().unwrap();
    let args = format!(
        "quiet acpi=off console=ttyS0 reboot=k panic=-1 rcupdate.rcu_cpu_stall_suppress=1 {}",
        profile.kernel_args()
    );
    let mut vm = Vm::empty()
        .set("/boot-source/boot_args", json!(args))
        .set("/machine-config/mem_size_mib", json!(128))
        .serial();
    fs::write(vm.path("kernel"), kernel).unwrap();
    if let Some(initramfs) = initramfs {
        let path = vm.path("initrd");
        fs::write(&path, initramfs).unwrap();
        vm = vm.set("/boot-source/initrd_path", json!(path));
    }
    vm.run()
}

#[test]
fn linux_boots_as_a_bzimage() {
    if no_kvm() {
        return;
    }
    let elf = fs::read(guest_file("vmlinux")).unwrap();
    let ended = linux(&linux_as_bzimage(&elf), Some(&initramfs(Then::PowerOff)));
    assert_eq!(ended.cause(), ExitCause::PowerOff, "{ended:?}");
    assert!(ended.stdout.contains("init runs on CPUs 1"), "{ended:?}");
}

#[test]
fn linux_without_an_initramfs_misses_its_root() {
    if no_kvm() {
        return;
    }
    let elf = fs::read(guest_file("vmlinux")).unwrap();
    let ended = linux(&elf, None);
    assert_eq!(ended.cause(), ExitCause::Panic, "{ended:?}");
    assert!(
        ended.stdout.contains("Unable to mount root fs"),
        "{ended:?}"
    );
}
