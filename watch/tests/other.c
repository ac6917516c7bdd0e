/* A program that says it has another build of the library in it: a signpost whose layout nobody knows. */

#include <unistd.h>

__asm__(".pushsection .note.pymalloc, \"a\", @note\n"
        ".balign 4\n"
        ".long 9, 24, 1\n"
        ".asciz \"pymalloc\"\n"
        ".balign 4\n"
        ".quad 1\n"
        ".asciz \"9.8.7-of-others\"\n"
        ".popsection\n");

int main(void)
{
    if (write(1, "ready\n", 6) != 6)
        return 1;
    for (;;)
        pause();
}
