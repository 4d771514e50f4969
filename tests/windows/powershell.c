/* Stands in for Windows PowerShell, which Wine only pretends to have: notes what it was asked to do. */
#include <windows.h>
#include <stdio.h>

int main(void)
{
    FILE *file = fopen("C:\\powershell.log", "a");
    if (!file) return 1;
    fprintf(file, "%ls\n", GetCommandLineW());
    return fclose(file) != 0;
}
