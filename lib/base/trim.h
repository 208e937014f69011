#pragma once

/*
 * Trim
 *
 * Gives back the memory that setting up has taken: free heap, and the pages of programs and libraries that are mapped
 * because they were needed once. Of these the kernel maps again what is used.
 */

void trim_memory(void);
