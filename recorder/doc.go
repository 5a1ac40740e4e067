// Package recorder is a recording's life: its states, its clock, its scenes and
// segments, its gap ledger, and the ports behind which sockets, disks, FFmpeg and
// stores live. It does not know RTP libraries, ent, GraphQL, HTTP, SQL, object-store
// SDKs or child processes; it imports the standard library and kms, nothing else.
//
// # Way of a packet
//
//	socket (ingest) ─► legSink ─► leg journal (spool, encrypted) ─► fsync ≤ 1 s
//	                                   │
//	                                   ▼  the follower reads what is on the disk, live or after a crash
//	               LegReader: reorder, depacketize ─► Clock: RTP time → recording time
//	                                   │
//	                                   ▼
//	               Planner: scenes, segments on the 1/fps grid, gap ledger
//	                     │                         │
//	                     ▼                         ▼
//	        Composer.Video per segment     Composer.Audio, one run
//	                     └───────► Muxer ◄─────────┘
//	                                 ▼
//	              checks ─► ObjectStore ─► Catalog AVAILABLE ─► spool removed
//
// Nothing downstream of the spool can make capture lose a packet: it only reads.
//
// # Capture states
//
//	PENDING ──► RECORDING ◄──► PAUSED
//	   │            └──────┬──────┘
//	   │                   ▼
//	   ├──────────►  FINALIZING ──► UPLOADING ──► AVAILABLE
//	   ▼                   │            ├───────► PARTIAL   (an expected track never came, or a part is unrecoverable)
//	ABORTED                └────────────┴───────► FAILED
//
// The table is in state.go. Storage tier and disposition are separate facts (package retention).
//
// # What is durable when
//
// Each step leaves its trace in the recording's "events" journal before the next one starts, so a process that
// dies anywhere is continued from the spool alone:
//
//	last event found      what a restart does
//	(none), TrackLeased   the same: the SFU was told these ports and may send any moment
//	LegAttached, Paused   binds the same ports, writes Recovered, goes on capturing (or, when the recorder was
//	                      away for longer than the queue waits, ends capture at the last record)
//	Stopped               plans again (same cuts), composes segments that are not sealed
//	SegmentSealed …       the same; sealed segments are kept
//	ArtifactSealed        uploads
//	Uploaded              writes AVAILABLE, removes the folder
package recorder
