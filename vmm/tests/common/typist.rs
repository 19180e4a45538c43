//! An init that reads lines from its console and does what they say: a line with `r` reboots, one with `q` powers off.

#![allow(unsafe_code)]

use std::arch::global_asm;

global_asm!(
    r#"
    .pushsection .rodata.hull_typist_init, "a"
    .globl hull_typist_init
    .globl hull_typist_init_end
hull_typist_init:
    sub rsp, 128
1:  lea rsi, [rip + 7f]
    mov edx, 10
    call 5f
    xor eax, eax                    # read
    xor edi, edi
    mov rsi, rsp
    mov edx, 100
    syscall
    mov r12d, eax
    lea rsi, [rip + 8f]
    mov edx, 5
    call 5f
    mov rsi, rsp
    mov edx, r12d
    call 5f
    mov edi, 1
    mov esi, 0x5409
    mov edx, 1
    mov eax, 16                     # ioctl TCSBRK: wait until it is out
    syscall
    mov edx, 0x01234567             # restart
    cmp byte ptr [rsp], 0x72
    je 2f
    mov edx, 0x4321fedc             # power off
    cmp byte ptr [rsp], 0x71
    jne 1b
2:  mov edi, 0xfee1dead
    mov esi, 672274793
    mov eax, 169                    # reboot
    syscall
    jmp 2b

5:  mov edi, 1
    mov eax, 1                      # write
    syscall
    ret

7:  .ascii "what now?\n"
8:  .ascii "read "
hull_typist_init_end:
    .popsection
"#
);

unsafe extern "C" {
    static hull_typist_init: u8;
    static hull_typist_init_end: u8;
}

/// The machine code of the init.
pub(crate) fn init() -> &'static [u8] {
    let (start, end) = (&raw const hull_typist_init, &raw const hull_typist_init_end);
    // SAFETY: both labels are in one section, in this order, and what is between them never changes.
    unsafe { std::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
}
