// Package node lets the API and the recorders be processes of their own, on one machine or on several: it carries a
// recorder's commands and what only a recorder knows over NATS (docs/formats/node.md).
//
// A Server stands before a *recorder.Service. It answers commands, tells that the node is there and what it can still
// take, and tells how its live recordings are. A Client stands in for the service in a process of the API: it knows the
// nodes that are there, places new recordings on the least loaded one, sends every other command to the node that owns
// the recording, and answers questions about live recordings from what the nodes have told, without asking anybody.
//
// Order and certainty are the database's, not the bus's: a session has one recording because of a unique index, and a
// recording belongs to the node of its row. So a lost or repeated message costs time and never a second recording.
//
// Who can publish on the subjects of this package owns the recorders: the bus's token, TLS and network guard it
// (docs/secure.md). The package does not know how the connection is made, nor GraphQL, nor the database's tables.
package node
