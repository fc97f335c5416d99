package vbawstest

import (
	"cmp"
	"slices"
	"strings"
)

// Workload is a kind of thing that a policy protects.
type Workload string

// The workloads, each with policies of its own and the first revision that
// lists them. Before 1.2 there are EC2's only, at /api/v1/policies.
const (
	EC2                Workload = "ec2"
	RDS                Workload = "rds"
	EFS                Workload = "efs"
	VPC                Workload = "vpc"
	DynamoDB           Workload = "dynamodb"
	Redshift           Workload = "redshift"
	RedshiftServerless Workload = "redshiftserverless"
	FSx                Workload = "fsx"
	EC2SLA             Workload = "ec2sla"
)

// policyRoutes are the routes that list policies, by workload.
var policyRoutes = []struct {
	path     string
	workload Workload
	from, to int // revisions 1.from to 1.to
	single   bool
}{
	{"/api/v1/policies", EC2, 0, 1, false},
	{"/api/v1/virtualMachines/policies", EC2, 2, newestMinor, false},
	{"/api/v1/rds/policies", RDS, 2, newestMinor, false},
	{"/api/v1/efs/policies", EFS, 2, newestMinor, false},
	{"/api/v1/vpc/policy", VPC, 2, newestMinor, true},
	{"/api/v1/dynamoDb/policies", DynamoDB, 5, newestMinor, false},
	{"/api/v1/redshift/policies", Redshift, 6, newestMinor, false},
	{"/api/v1/redshiftServerless/policies", RedshiftServerless, 8, newestMinor, false},
	{"/api/v1/fsx/policies", FSx, 8, newestMinor, false},
	{"/api/v1/policy/ec2SlaBasedPolicies", EC2SLA, 8, newestMinor, false},
}

const newestMinor = 99

// Policy is a backup policy.
type Policy struct {
	// ID is a lower-case UUID, made up by the appliance where it is empty.
	ID, Name, Description string
	// Workload decides which route lists the policy; empty is EC2.
	Workload Workload
	Enabled  bool
	Priority int64
	// Schedule may be nil. It must not be changed once it was put.
	Schedule *ScheduleSettings
	// RetryTimes is how often failed workloads are tried again.
	RetryTimes int
	// LastStatus is a word of Session.Status; empty is NeverExecuted. The
	// appliance keeps it up when sessions of type Policy change.
	LastStatus string
	// RepositoryID is where backups go; empty for none.
	RepositoryID string
	// Items are the workloads that the policy protects. They must not be changed
	// once they were put.
	Items []Item
	// USN is set by the appliance: from a sequence of the policies' own, raised
	// when the policy or one of its sessions changes.
	USN int64
}

type policyJSON struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description"`
	RegionIDs   []string          `json:"regionIds"`
	Priority    int64             `json:"priority"`
	IsEnabled   bool              `json:"isEnabled"`
	AccountID   string            `json:"amazonAccountId"`
	BackupType  string            `json:"backupType"`
	Backup      map[string]string `json:"backupSettings,omitempty"`
	Schedule    *ScheduleSettings `json:"scheduleSettings,omitempty"`
	Retry       retryJSON         `json:"retrySettings"`
	LastStatus  string            `json:"lastPolicySessionStatus"`
	USN         int64             `json:"usn"`
	Links       []link            `json:"_links"`
}

type retryJSON struct {
	RetryTimes int `json:"retryTimes"`
}

func (p *Policy) lastStatus() string { return cmp.Or(p.LastStatus, StatusNeverExecuted) }

func (p *Policy) encode(a *Appliance, href string) policyJSON {
	out := policyJSON{
		ID:          p.ID,
		Name:        p.Name,
		Description: p.Description,
		RegionIDs:   []string{a.regionID},
		Priority:    p.Priority,
		IsEnabled:   p.Enabled,
		AccountID:   a.accountID,
		BackupType:  "AllItems",
		Schedule:    p.Schedule.served(),
		Retry:       retryJSON{p.RetryTimes},
		LastStatus:  p.lastStatus(),
		USN:         p.USN,
		Links:       []link{{"GET", "self", href}},
	}
	if len(p.Items) > 0 {
		out.BackupType = "SelectedItems"
	}
	if p.RepositoryID != "" {
		out.Backup = map[string]string{"targetRepositoryId": p.RepositoryID}
	}
	return out
}

var policySortings = sortings("priority", "name", "usn")

// listPolicies answers a listing of one workload's policies.
func (a *Appliance) listPolicies(q *request, workload Workload) *answer {
	p := &q.params
	win := p.window(q.cfg)
	pattern, _ := p.one("SearchPattern")
	vm, byVM := p.uuid("VirtualMachineId")
	last := p.list("LastPolicySessionStatus", sessionStatuses)
	enabled := p.list("PolicyStatus", []string{"Enabled", "Disabled"})
	usn, byUSN := p.integer("Usn", minInt64, maxInt64)
	repository, byRepository := p.uuid("RepositoryId")
	order := p.sorting(policySortings)
	if bad := q.invalid(); bad != nil {
		return bad
	}

	all := 0
	var found []*Policy
	for _, pol := range a.policies {
		if pol.Workload != workload {
			continue
		}
		all++
		status := "Disabled"
		if pol.Enabled {
			status = "Enabled"
		}
		switch {
		case !contains(pol.Name, pattern),
			byVM && !slices.ContainsFunc(pol.Items, func(i Item) bool { return i.ID == vm }),
			len(last) > 0 && !slices.Contains(last, pol.lastStatus()),
			len(enabled) > 0 && !slices.Contains(enabled, status),
			byUSN && q.cfg.UsnFilter == UsnEquals && pol.USN != usn,
			byUSN && q.cfg.UsnFilter == UsnGreater && pol.USN <= usn,
			byRepository && pol.RepositoryID != repository:
			continue
		}
		found = append(found, pol)
	}
	slices.SortFunc(found, func(a, b *Policy) int {
		for _, k := range order {
			var c int
			switch k.column {
			case "priority":
				c = cmp.Compare(a.Priority, b.Priority)
			case "name":
				c = strings.Compare(a.Name, b.Name)
			case "usn":
				c = cmp.Compare(a.USN, b.USN)
			}
			if k.desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return strings.Compare(a.ID, b.ID)
	})
	from, to := win.bounds(len(found))
	page := pageJSON[policyJSON]{TotalCount: len(found), Results: []policyJSON{}, Links: q.self()}
	if q.cfg.TotalIsWhole {
		page.TotalCount = all
	}
	for _, pol := range found[from:to] {
		page.Results = append(page.Results, pol.encode(a, q.base+q.path+"/"+pol.ID))
	}
	return ok(mustMarshal(page))
}

// onePolicy answers with the policy of that id, or, where id is empty, with the
// workload's only one.
func (a *Appliance) onePolicy(q *request, workload Workload, id string) *answer {
	for _, pol := range a.policies {
		if pol.Workload == workload && (id == "" || pol.ID == id) {
			return ok(mustMarshal(pol.encode(a, q.base+q.path)))
		}
	}
	return notFound.answer(q.base, "")
}

// contains reports whether s contains a search pattern, whatever the case.
func contains(s, pattern string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(pattern))
}
