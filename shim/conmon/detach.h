#pragma once

/*
 * Detaching
 *
 * Leaving the caller, who waits for us to end and for our output to. What goes wrong is reported here.
 */

/*
 * Goes on in a child; the parent writes its pid to @pidfile (NULL: nowhere) and ends. Returns 0 in the child, or a
 * negative errno in the parent where there is no child.
 */
int detach_process(const char *pidfile);

/* Puts /dev/null in the place of the standard streams. 0 or a negative errno. */
int detach_stdio(void);
