#pragma once

/*
 * Calls in flight, packed
 *
 * For the podspan-cri that takes over; see tappack.h. The context file of a call stays where it is: who takes over
 * writes it anew under its name, with callpack_adopt(), once nobody else answers for it. No I/O but that.
 */

#include "call.h"
#include "pack.h"

void callpack_write(const TapStream *stream, Pack *pack);
/* NULL when @unpack has failed. @tap's userdata are the Calls. */
TapStream *callpack_read(Tap *tap, Unpack *unpack);

/* The call's context file is this process' from now on. */
void callpack_adopt(TapStream *stream);
/* Forgets the call: somebody else has it now. */
void callpack_drop(TapStream *stream);

/* What is not of one connection: the pod map, and which lists were read. */
void callpack_write_calls(const Calls *calls, Pack *pack);
/* 0, -EBADMSG or -ENOMEM: what was read before a failure stays. */
int callpack_read_calls(Calls *calls, Unpack *unpack);
