# The boot sector of KvmProbe.cs: goes through protected mode into 64-bit mode with paging, uses cpuid, the time stamp counter and SSE as
# a kernel does in its first moments, and only then says so on the first serial port. Its bytes are in KvmProbe.cs, made with:
#   as --64 KvmProbe.s -o probe.o && ld -Ttext=0x7c00 --oformat=binary -e _start probe.o -o probe.img
    .code16
    .globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    # Page tables at 0x1000, 0x2000, 0x3000: the first 2 MiB, one large page.
    mov $0x1000, %di
    mov $0x1800, %cx
    cld
    rep stosw
    movw $0x2003, 0x1000
    movw $0x3003, 0x2000
    movw $0x0083, 0x3000
    mov $0x1000, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x620, %eax          # PAE, SSE
    mov %eax, %cr4
    mov $0xc0000080, %ecx    # EFER
    rdmsr
    or $0x100, %eax          # long mode
    wrmsr
    lgdt gdtr
    mov %cr0, %eax
    and $0xfffffffb, %eax
    or $0x80000003, %eax     # paging, protection, monitor
    mov %eax, %cr0
    ljmp $8, $long
    .code64
long:
    xor %eax, %eax
    cpuid
    rdtsc
    cvtsi2sd %eax, %xmm0
    mov $text, %esi
    mov $0x3f8, %dx
next:
    lodsb
    test %al, %al
    jz done
    out %al, %dx
    jmp next
done:
    hlt
    jmp done
text:
    .asciz "CAPSUL-PROBE-OK\r\n"
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000
gdtr:
    .word gdtr - gdt - 1
    .long gdt
    .org 510
    .word 0xaa55
