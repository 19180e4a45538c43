/* From the PVH entry (32 bits, no paging) to user mode in 64 bits. User mode, because there the processor executes the guest's
   code itself, also on hosts where KVM interprets what runs in kernel mode. */
.section .note.pvh, "a", @note
.balign 4
.long 4, 4, 18                  /* lengths of name and value, XEN_ELFNOTE_PHYS32_ENTRY */
.asciz "Xen"
.long entry32

.section .text.entry, "ax"
.code32
.global entry32
entry32:
    mov %ebx, %edi              /* hvm_start_info, the argument of user_main */
    mov %cr4, %eax
    or $0x620, %eax             /* PAE, OSFXSR, OSXMMEXCPT */
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx       /* EFER */
    rdmsr
    or $0x100, %eax             /* LME */
    wrmsr
    mov %cr0, %eax
    and $0xfffffff3, %eax       /* neither EM nor TS */
    or $0x80000023, %eax        /* PG, NE, MP, PE */
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $0x08, $entry64

.code64
entry64:
    mov $kernel_stack, %esp
    mov $tss, %eax              /* its address in pieces, which no linker fills in */
    mov %ax, tss_descriptor + 2
    shr $16, %eax
    mov %al, tss_descriptor + 4
    mov %ah, tss_descriptor + 7
    mov $0x28, %eax
    ltr %ax
    pushq $0x1b                 /* SS of user mode */
    pushq $user_stack - 8       /* as after a call */
    pushq $0x3002               /* I/O privilege for user mode, no interrupts; a KVM that loses it asks the bitmap */
    pushq $0x23                 /* CS of user mode */
    pushq $user_main
    iretq

.section .data
.balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* 0x08: kernel code */
    .quad 0x00cf93000000ffff    /* 0x10: kernel data */
    .quad 0x00cff3000000ffff    /* 0x18: user data */
    .quad 0x00affb000000ffff    /* 0x20: user code */
tss_descriptor:                 /* 0x28, 16 bytes */
    .quad 0x0000890000000000 + (tss_end - tss - 1)
    .quad 0
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

/* A task state segment for its bitmap of I/O ports, in which a zero allows: all up to 0x3ff. */
.balign 8
tss:
    .fill 102, 1, 0
    .word 104
    .fill 128, 1, 0
    .byte 0xff
tss_end:

/* The first 4 GiB one to one, for user mode too, in pages of 2 MiB. */
.balign 4096
pml4:
    .quad pdpt + 7
    .fill 511, 8, 0
pdpt:
    .quad pd + 0x0007, pd + 0x1007, pd + 0x2007, pd + 0x3007
    .fill 508, 8, 0
pd:
    .set page, 0
    .rept 2048
    .quad (page << 21) + 0xe7   /* present, writable, user, accessed, dirty, 2 MiB */
    .set page, page + 1
    .endr

.section .bss
.balign 16
    .skip 4096
kernel_stack:
    .skip 65536
user_stack:
