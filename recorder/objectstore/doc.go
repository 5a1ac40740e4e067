// Package objectstore holds what every adapter of recorder.ObjectStore shares: the rules for keys, the checks
// of a Put, the typed errors, and two wrappers, Retry and Breaker, which are composed as Retry(Breaker(store)).
// The adapters stand beside it, one folder each (fs is a local folder), and all of them, the wrapped ones too,
// pass the conformance suite of objectstore/storetest.
//
// It does not know what an object holds: everything it sees is ciphertext already.
//
// # The contract of an adapter
//
// Beyond what recorder.ObjectStore says:
//
//   - Put reads from the start of the reader (it rewinds first), stores nothing visible unless it succeeds, and leaves an
//     earlier object of the same key untouched when it fails.
//   - A fault of the store that may go away wraps recorder.ErrStoreUnavailable. Nothing else does: Retry repeats and
//     Breaker counts by it.
//   - A mistake of the caller wraps ErrInvalid and is found before the store is asked.
//   - The context given to Open bounds the reads of the opened object as well.
//   - An opened object yields the bytes of one Put only. When the key is replaced or deleted meanwhile, reads go on with
//     the old bytes or fail; they never mix.
package objectstore
