//! An init that sees whether its kernel keeps the vector registers of programs apart.

#![allow(unsafe_code)]

use std::arch::global_asm;

// Two processes load different values into a wide register and yield to each other again and again. Each looks whether the
// register still has its value; the first waits for the other's verdict, prints both, and powers off.
global_asm!(
    r#"
    .pushsection .rodata.hull_vector_init, "a"
    .globl hull_vector_init
    .globl hull_vector_init_end
hull_vector_init:
    mov eax, 57                     # fork
    syscall
    mov r12d, eax
    lea rbx, [rip + 6f]
    test eax, eax
    jnz 1f
    add rbx, 32
1:  vmovdqu ymm8, [rbx]
    xor r14d, r14d
    mov r13d, 50
2:  mov eax, 24                     # sched_yield
    syscall
    vmovdqu [rsp - 64], ymm8
    lea rsi, [rsp - 64]
    mov rdi, rbx
    mov ecx, 32
    repe cmpsb
    je 3f
    mov r14d, 1
3:  dec r13d
    jnz 2b

    test r12d, r12d
    jnz 4f
    mov edi, r14d
    mov eax, 60                     # exit
    syscall
4:  sub rsp, 16
    mov edi, -1
    mov rsi, rsp
    xor edx, edx
    xor r10d, r10d
    mov eax, 61                     # wait4
    syscall
    or r14d, [rsp]
    lea rsi, [rip + 7f]
    jz 5f
    lea rsi, [rip + 8f]
5:  mov edx, 15
    mov edi, 1
    mov eax, 1                      # write
    syscall
    mov edi, 1
    mov esi, 0x5409
    mov edx, 1
    mov eax, 16                     # ioctl TCSBRK: wait until it is out
    syscall
    mov edi, 0xfee1dead
    mov esi, 672274793
    mov edx, 0x4321fedc
    mov eax, 169                    # reboot: power off
    syscall
    jmp 5b

6:  .fill 32, 1, 0xa5
    .fill 32, 1, 0x3c
7:  .ascii "registers kept\n"
8:  .ascii "registers lost\n"
hull_vector_init_end:
    .popsection
"#
);

unsafe extern "C" {
    static hull_vector_init: u8;
    static hull_vector_init_end: u8;
}

/// The machine code of the init.
pub(crate) fn init() -> &'static [u8] {
    let (start, end) = (&raw const hull_vector_init, &raw const hull_vector_init_end);
    // SAFETY: both labels are in one section, in this order, and what is between them never changes.
    unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
}
