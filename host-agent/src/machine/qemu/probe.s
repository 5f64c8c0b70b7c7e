# What a hypervisor has to be able to run before it is used: protected mode and a return into it,
# paging, long mode and a return into it. Ends QEMU by isa-debug-exit.
#
#   as -o probe.o probe.s && objcopy -O binary -j .text probe.o probe.bin
#
# The first 64 KiB ROM that a processor starts in is mapped at 0xf0000 too.
.code16
start:
  cli
  lgdtl %cs:(gdtr - start)
  movl %cr0, %eax
  orb $1, %al
  movl %eax, %cr0
  ljmpl $0x08, $(0xf0000 + protected - start)
.code32
protected:
  movw $0x10, %ax
  movw %ax, %ds
  movw %ax, %ss
  movl $0x7000, %esp
  pushfl
  pushl $0x08
  pushl $(0xf0000 + returned - start)
  iretl
returned:
  movl $0x2003, 0x1000
  movl $0x3003, 0x2000
  movl $0x83, 0x3000
  movl %cr4, %eax
  orb $0x20, %al
  movl %eax, %cr4
  movl $0x1000, %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx
  rdmsr
  orw $0x100, %ax
  wrmsr
  movl %cr0, %eax
  orl $0x80000000, %eax
  movl %eax, %cr0
  ljmpl $0x18, $(0xf0000 + long - start)
.code64
long:
  pushq $0x10
  pushq $0x7000
  pushfq
  pushq $0x18
  pushq $(0xf0000 + done - start)
  iretq
done:
  movb $0x2a, %al
  outb %al, $0xf4
  hlt
.balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff
  .quad 0x00cf93000000ffff
  .quad 0x00af9b000000ffff
gdtr:
  .word 31
  .long 0xf0000 + gdt - start
