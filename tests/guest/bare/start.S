/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry of the bare-metal guest: the multiboot 1 header, our own flat segments, a stack, and the
 * one interrupt there is (the timer's, which only ends a hlt). Multiboot 1 as in "Multiboot
 * Specification version 0.6.96", sections 3.1 and 3.2.
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x00000002 /* tell us the size of memory */

    .section .multiboot, "a"
    .balign 4
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

    .text
    .globl start
start:
    cli
    cld
    movl $stack_top, %esp
    lgdt gdt_pointer
    ljmp $0x08, $1f
1:  movw $0x10, %cx
    movw %cx, %ds
    movw %cx, %es
    movw %cx, %ss
    pushl %ebx /* struct multiboot_info * */
    pushl %eax /* magic of the loader */
    call main_start
2:  cli
    hlt
    jmp 2b

    /*
     * void timer_wait(void): sleeps until an interrupt. The handler throws away the interrupted
     * place and returns in its stead, with interrupts off again: so no iret is needed, which a KVM
     * without hardware support does not emulate in protected mode.
     */
    .globl timer_wait
timer_wait:
    sti
1:  hlt
    jmp 1b

    .globl timer_interrupt
timer_interrupt:
    movb $0x20, %al /* end of interrupt, to the first PIC */
    outb %al, $0x20
    addl $12, %esp /* EIP, CS, EFLAGS */
    ret

    /* Any exception: nothing can be trusted any more, so say so and stop. */
    .globl fault_interrupt
fault_interrupt:
    call main_fault
    jmp 2b

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* 0x08: code, 4 GiB, ring 0 */
    .quad 0x00cf93000000ffff /* 0x10: data, 4 GiB, ring 0 */
gdt_pointer:
    .word . - gdt - 1
    .long gdt

    .bss
    .balign 16
    .skip 16384
stack_top:

    .section .note.GNU-stack, "", @progbits
