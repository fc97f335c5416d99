package schedule

// Kind is a kind of restore point, and a value of the label "kind".
type Kind string

// The kinds of restore points.
const (
	// Whole stands for all kinds together: a schedule as a whole, or a session that
	// doesn't say what it makes.
	Whole    Kind = ""
	Snapshot Kind = "snapshot"
	Replica  Kind = "replica"
	Backup   Kind = "backup"
	Archive  Kind = "archive"
)
