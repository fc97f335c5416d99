// The alerts, examples of service levels and dashboards of vbaws_exporter as a Prometheus mixin. The plain
// files are the source: this file imports them and adds nothing but the runbook's address.
{
  _config+:: {
    // The address that the alerts' docs/runbook.md is relative to, with the slash at its end.
    // Empty: runbook_url stays relative to the repository.
    runbookBaseURL: '',
  },

  local withRunbook(rule) =
    if std.startsWith(std.get(std.get(rule, 'annotations', {}), 'runbook_url', ''), 'docs/')
    then rule { annotations+: { runbook_url: $._config.runbookBaseURL + rule.annotations.runbook_url } }
    else rule,
  local groups(text) = [g { rules: std.map(withRunbook, g.rules) } for g in std.parseYaml(text).groups],

  prometheusAlerts+:: { groups+: groups(importstr '../prometheus/alerts.yml') },
  prometheusRules+:: { groups+: groups(importstr '../prometheus/rules.yml') },
  grafanaDashboards+:: {
    'vbaws-exporter.json': import '../grafana/vbaws-exporter.json',
    'vbaws-instances.json': import '../grafana/vbaws-instances.json',
    'vbaws-overview.json': import '../grafana/vbaws-overview.json',
    'vbaws-policy.json': import '../grafana/vbaws-policy.json',
  },
}
