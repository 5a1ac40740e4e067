// Package retention decides how long recordings are kept: policies, legal holds and requests of the people recorded go
// in, a decision with its reasons comes out. It deletes nothing and moves nothing; a worker acts on what it says. It
// does not know databases, stores, GraphQL, playback or the clock: now is an argument.
//
// # The decision
//
//	policies of the tenant ──┐ those that match      floor_at     = max(floors)
//	                         ├──────────────────►    ceiling_at   = min(ceilings of the highest priority)
//	recording (ended, queue, │                       delete_after = max(ceiling_at, floor_at, request of erasure)
//	client, type, tags) ─────┘                             │
//	legal holds, requests to restrict ──────────────► KEEP ◄┴► DUE, and why
//
// What is in doubt is kept: no policy that names a ceiling, FOREVER against a date, a recording that is not settled.
// The rules and examples are in docs/retention.md.
//
// # Disposition
//
//	RETAINED ◄──► DUE ──► DELETING ──► DELETED
//	                         │  ▲
//	                         ▼  │
//	                     DELETE_FAILED
//
// A hold or a longer policy takes DUE back to RETAINED. Nothing leads back from DELETING: its first act may have
// destroyed the key, so a deletion that failed is tried again and never called RETAINED.
//
// # Storage tier
//
//	HOT ◄──► COOLING ──► COLD ◄──► RESTORING ──► RESTORED
//	                      ▲                         │
//	                      └─────────────────────────┘
//
// COOLING goes back to HOT and RESTORING back to COLD where the store refused. RESTORED ends after a while in COLD.
//
// Both tables are in state.go, each pinned by a golden test.
package retention
