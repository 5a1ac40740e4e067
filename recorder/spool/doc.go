// Package spool keeps what was captured on the local disk, encrypted from the first byte: append-only journals of
// packets and events, and finished files. The format, the crash table and the rule of the torn tail are in docs/formats/spool.md.
//
// It knows files, chunks and keys. It does not know what a packet means, what a recording's state is, or where it will be stored.
//
// A Spool has two goroutines, however many journals there are: one writes what is buffered (a full
// chunk at once, the rest every half second), the other makes it durable. They are apart so that a slow fsync does not hold back
// what readers may read. Append only copies into memory; it writes by itself, and so waits for the disk, when 4 MiB of
// one journal wait because the disk does not keep up.
package spool
