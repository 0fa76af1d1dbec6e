"""A sweep's durable state: one folder in its storage, one writer, everything else is a cache.

In the order that data flows:

sweep_folder      what a sweep keeps in its storage, under which names
process_identity  which process of which machine this is, and whether another one is still alive
lease_record      what the lease's object says
lease             which driver a sweep has: taken, renewed, taken over when its holder falls silent
lease_watch       whether a sweep has a driver, for whoever only looks
entry             the format of a journal's objects: a header and a JSON record a line
segments          which entries are merged into larger objects, and which objects a reader reads
object_journal    the journal as whoever reads it sees it, from memory
journal_writer    its one writer, which the next writer fences
stored_sweep      a sweep as any machine finds it: by its id, or by the URI of its folder
requests          what people ask a running sweep for, and what it answered
open_runs         notes in the home: at which MLflow a process has runs outside a sweep
"""
