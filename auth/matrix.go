package auth

import "slices"

// Operation is something that a role may or may not do.
type Operation string

// The operations. Each mutation, query and subscription of the API is one of them.
const (
	Ingest          Operation = "ingest"           // start, attach, detach, stop
	Pause           Operation = "pause"            // pause and resume
	ReadRecordings  Operation = "recordings.read"  // list, search, gaps, status
	Play            Operation = "play"             // get a playback grant to watch
	Download        Operation = "download"         // get a grant that saves the file
	RevokeGrants    Operation = "grants.revoke"    // end someone's playback
	Annotate        Operation = "annotate"         // bookmarks, comments, tags
	ScoreLinks      Operation = "qa.write"         // QA links and scores
	WatchFloor      Operation = "floor.watch"      // live tiles and pictures
	ReadRetention   Operation = "retention.read"   // policies, holds, what is due
	ManageRetention Operation = "retention.manage" // change policies, delete
	ManageHolds     Operation = "holds.manage"     // place and release legal holds
	ReadAudit       Operation = "audit.read"       // the audit log
	ReadProofs      Operation = "proofs.read"      // deletion proofs
	Configure       Operation = "configure"        // queues, storage targets, keys
	ManageAPIKeys   Operation = "apikeys.manage"   // make and revoke API keys
)

// Values lists all operations.
func (Operation) Values() []string {
	return []string{string(Ingest), string(Pause), string(ReadRecordings), string(Play), string(Download), string(RevokeGrants),
		string(Annotate), string(ScoreLinks), string(WatchFloor), string(ReadRetention), string(ManageRetention), string(ManageHolds),
		string(ReadAudit), string(ReadProofs), string(Configure), string(ManageAPIKeys)}
}

// Scope is how far an operation reaches within the tenant. Nothing ever reaches beyond it.
type Scope uint8

// The scopes, from nothing to everything.
const (
	Nothing   Scope = iota // not allowed
	Own                    // recordings of the principal as agent
	OwnQueues              // recordings of the principal's queues
	Tenant                 // everything of the tenant
)

// String names the scope.
func (s Scope) String() string {
	return [...]string{"-", "own", "queues", "tenant"}[min(s, Tenant)]
}

// matrix is the whole of what roles may do. What is not in it is not allowed. The auditor reads evidence and no media; the
// service records and links scores and never plays; only people with a task in a queue reach its recordings.
var matrix = map[Role]map[Operation]Scope{
	Service: {Ingest: Tenant, Pause: Tenant, ReadRecordings: Tenant, Annotate: Tenant, ScoreLinks: Tenant},
	Agent:   {Pause: Own, ReadRecordings: Own, Play: Own, Annotate: Own},
	Reviewer: {ReadRecordings: OwnQueues, Play: OwnQueues, Annotate: OwnQueues, ScoreLinks: OwnQueues,
		ReadRetention: OwnQueues},
	Supervisor: {Pause: OwnQueues, ReadRecordings: OwnQueues, Play: OwnQueues, Download: OwnQueues, RevokeGrants: OwnQueues,
		Annotate: OwnQueues, ScoreLinks: OwnQueues, WatchFloor: OwnQueues, ReadRetention: OwnQueues},
	Admin: {Ingest: Tenant, Pause: Tenant, ReadRecordings: Tenant, Play: Tenant, Download: Tenant, RevokeGrants: Tenant,
		Annotate: Tenant, ScoreLinks: Tenant, WatchFloor: Tenant, ReadRetention: Tenant, ManageRetention: Tenant,
		ManageHolds: Tenant, ReadAudit: Tenant, ReadProofs: Tenant, Configure: Tenant, ManageAPIKeys: Tenant},
	Auditor: {ReadRecordings: Tenant, ReadRetention: Tenant, ReadAudit: Tenant, ReadProofs: Tenant},
}

// Allowed reports whether a role may do an operation at all.
func Allowed(r Role, op Operation) bool { return ScopeOf(r, op) != Nothing }

// ScopeOf says how far a role's operation reaches; Nothing for an unknown role or operation.
func ScopeOf(r Role, op Operation) Scope { return matrix[r][op] }

// May reports whether the principal may do an operation on a recording of this queue and agent in the principal's tenant.
// The caller has made sure that it is of this tenant: every query is filtered by it.
func (p Principal) May(op Operation, queue, agent string) bool {
	switch ScopeOf(p.Role, op) {
	case Tenant:
		return true
	case OwnQueues:
		return queue != "" && (slices.Contains(p.Queues, queue) || slices.Contains(p.Queues, AllQueues))
	case Own:
		return agent != "" && agent == p.Subject
	default:
		return false
	}
}
