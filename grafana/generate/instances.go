package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const (
	instancesUID = "vbaws-instances"
	// byInstance merges two exporters of one appliance.
	byInstance = "appliance, instance_name, instance_id"
	lastBackup = "vbaws_instance_last_backup_timestamp_seconds"
	// never stands for the age of a missing backup. It is larger than any age, so it sorts first.
	never = "1e+10"
)

func instances() (dashboard.Dashboard, error) {
	b := newBoard(instancesUID, "Instances",
		"EC2 instances by name: the oldest backup first, those that no policy protects, and the encryption of repositories. The exporter reads instances only with instances: true.")
	b.Time("now-7d", "now")
	b.choice("appliance", "Appliance", "The appliances that protect the instances", "vbaws_up", ".+")

	const noInstances = "instances is not set to true, or no exporter is scraped"
	b.row("EC2 instances")
	add(b, about{"Protected",
		"EC2 instances that a policy protects.",
		noInstances, 6, 4}, number("none", steps("text")),
		b.now("count(max by ("+byInstance+") (vbaws_instance_protected) == 1)"))
	add(b, about{"Not protected",
		"EC2 instances that no policy protects.",
		noInstances, 6, 4}, number("none", steps(green, step{1, orange})),
		b.now("sum(max by ("+byInstance+") (vbaws_instance_protected) == bool 0)"))
	add(b, about{"Oldest newest backup",
		"The age of the newest backup of the protected instance that has gone longest without one.",
		"no backup is known", 6, 4}, number("s", steps("text")).Decimals(1),
		b.now("max(time() - max by ("+byInstance+") ("+lastBackup+" > 0))"))
	add(b, about{"Without any backup",
		"Protected instances of which the appliance has no backup, replica or snapshot.",
		noInstances, 6, 4}, number("none", steps(green, step{1, vermilion})),
		b.now("sum(max by ("+byInstance+") ("+lastBackup+") == bool 0)"))
	age := []dashboard.DynamicConfigValue{unit("s"), width(140), left, decimals(1), mapped(word{"10000000000", "✗ none", vermilion})}
	add(b, about{"Newest backups, the oldest first",
		"Protected instances and the age of their newest backup, replica or snapshot. At most 100 rows.",
		noInstances, 12, 14},
		sorted(grid(
			col("instance_name", "Instance", filterable),
			col("instance_id", "ID", width(190)),
			col("appliance", "Appliance", width(130), filterable),
			col("A", "Age", age...),
		), order{"Age", true}),
		b.rows("topk(100, time() - max by ("+byInstance+") ("+lastBackup+" > 0) or "+never+" + (max by ("+byInstance+") ("+lastBackup+") == 0))"))
	add(b, about{"Not protected by a policy",
		"EC2 instances that are in no policy. At most 100 rows.",
		noInstances, 12, 14},
		sorted(grid(
			col("instance_name", "Instance", filterable),
			col("instance_id", "ID", width(190), unit("none")),
			col("region", "Region", width(130), filterable),
			col("appliance", "Appliance", width(130), filterable),
		), order{"Instance", false}),
		b.rows("topk(100, max by ("+byInstance+", region) (vbaws_instance_info) and on ("+byInstance+") max by ("+byInstance+") (vbaws_instance_protected) == 0)"))
	add(b, about{"Protected and not protected",
		"How many EC2 instances there were of each.",
		noInstances, 12, 8}, graph("none").Interval("1m"),
		b.over("count(max by ("+byInstance+") (vbaws_instance_protected) == 1)", "protected"),
		b.over("count(max by ("+byInstance+") (vbaws_instance_protected) == 0)", "not protected"))
	add(b, about{"Oldest newest backup, by appliance",
		"The age of the newest backup of the instance that has gone longest without one. It grows while an instance is left out.",
		"no backup is known", 12, 8}, graph("s").Interval("1m"),
		b.over("max by (appliance) (time() - max by ("+byInstance+") ("+lastBackup+" > 0))", "{{appliance}}"))

	b.row("Repositories")
	add(b, about{"Encryption of repositories",
		"Backup repositories, those that are not encrypted first.",
		"the account is not allowed to list repositories, or there is none", 24, 8},
		sorted(grid(
			col("repository", "Repository", filterable),
			col("encryption", "Encryption", width(150), unit("none"), textColored, left,
				mapped(word{"true", "✓ encrypted", green}, word{"false", "✗ not encrypted", vermilion})),
			col("bucket", "Bucket"),
			col("region", "Region", width(150), filterable),
			col("appliance", "Appliance", width(150), filterable),
		), order{"Encryption", false}, order{"Repository", false}),
		b.rows("max by (appliance, repository, repository_id, bucket, region, encryption) (vbaws_repository_info)"))
	return b.Build()
}
