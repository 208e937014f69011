#pragma once

/*
 * Footprint
 *
 * Monitors are many and mostly idle. What of the program was needed to get a container going is mapped, though it will
 * not be needed for weeks.
 */

/*
 * Gives back what is mapped of the program itself and what the heap has free. What is needed again comes from the page
 * cache.
 */
void footprint_trim(void);
