package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/prometheus/prometheus/model/labels"
)

// The palette of Okabe and Ito, which colour-blind people can distinguish. A word,
// a sign or a number accompanies each colour.
const (
	blue      = "#0072B2"
	sky       = "#56B4E9"
	green     = "#009E73"
	yellow    = "#F0E442"
	orange    = "#E69F00"
	vermilion = "#D55E00"
	purple    = "#CC79A7"
	grey      = "#8E8E8E"
)

// board is a dashboard in the making. Panels go from left to right, and continue on a new
// line if one is full.
type board struct {
	*dashboard.DashboardBuilder
	scope          []narrowing
	id, x, y, line uint32
}

// dataSourceRef is the data source that the board's variable names.
var dataSourceRef = common.DataSourceRef{Type: new("prometheus"), Uid: new("${datasource}")}

const tag = "vbaws_exporter"

// newBoard returns a board that has the variables cluster and job.
func newBoard(uid, title, description string) *board {
	b := &board{}
	b.DashboardBuilder = dashboard.NewDashboardBuilder("Veeam Backup for AWS / " + title).
		Uid(uid).
		Description(description).
		Tags([]string{"veeam", "backup", tag}).
		Timezone(common.TimeZoneBrowser).
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Refresh("1m").
		// A new version of the file overwrites changes made in Grafana.
		Readonly().
		// All boards of the exporter, with the variables and the time range of this one.
		Link(dashboard.NewDashboardLinkBuilder("Boards").
			Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{tag}).
			IncludeVars(true).
			KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").
			Label("Data source").
			Description("The Prometheus that scrapes vbaws_exporter").
			Type("prometheus"))
	// The label is rare. The value for all matches series without it too.
	b.choice("cluster", "Cluster", "The label cluster, if Prometheus adds one to what it scrapes", "vbaws_up", ".*")
	b.choice("job", "Job", "The scrape's jobs", "vbaws_up", ".+")
	return b
}

// row begins a part of the board.
func (b *board) row(title string) {
	b.y += b.line
	b.id++
	b.WithRow(dashboard.NewRowBuilder(title).Id(b.id).GridPos(dashboard.GridPos{X: 0, Y: b.y, W: 24, H: 1}))
	b.x, b.line = 0, 0
	b.y++
}

// panelBuilder is what the builders of all kinds of panels have.
type panelBuilder[T any] interface {
	cog.Builder[dashboard.Panel]
	Id(uint32) T
	Title(string) T
	Description(string) T
	Datasource(common.DataSourceRef) T
	GridPos(dashboard.GridPos) T
	NoValue(string) T
	Targets([]cog.Builder[variants.Dataquery]) T
	ColorScheme(cog.Builder[dashboard.FieldColor]) T
	Thresholds(cog.Builder[dashboard.ThresholdsConfig]) T
	OverrideByName(string, []dashboard.DynamicConfigValue) T
}

// about describes a panel.
type about struct {
	title, description string
	// none is the text that is shown if there is no data.
	none string
	// w and h are the size in Grafana's units; a line has 24.
	w, h uint32
}

func add[T panelBuilder[T]](b *board, a about, p T, queries ...*prometheus.DataqueryBuilder) {
	if b.x+a.w > 24 {
		b.x, b.y, b.line = 0, b.y+b.line, 0
	}
	b.id++
	targets := make([]cog.Builder[variants.Dataquery], len(queries))
	for i, q := range queries {
		targets[i] = q.RefId(string(rune('A' + i))).Datasource(dataSourceRef).EditorMode(prometheus.QueryEditorModeCode)
	}
	b.WithPanel(p.
		Id(b.id).
		Title(a.title).
		Description(a.description).
		Datasource(dataSourceRef).
		NoValue(a.none).
		Targets(targets).
		GridPos(dashboard.GridPos{X: b.x, Y: b.y, W: a.w, H: a.h}))
	b.x, b.line = b.x+a.w, max(b.line, a.h)
}

// now returns a query for one value of each series, at the end of the time range.
func (b *board) now(expr string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(b.query(expr)).Instant()
}

// rows is like now, for a table.
func (b *board) rows(expr string) *prometheus.DataqueryBuilder {
	return b.now(expr).Format(prometheus.PromQueryFormatTable)
}

// over returns a query for the values of each series over the time range.
func (b *board) over(expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(b.query(expr)).Range().LegendFormat(legend)
}

type step struct {
	from  float64
	color string
}

// steps returns thresholds: color applies up to the first step, and each step sets
// it from there on.
func steps(color string, from ...step) *dashboard.ThresholdsConfigBuilder {
	list := []dashboard.Threshold{{Color: color}}
	for _, s := range from {
		list = append(list, dashboard.Threshold{Value: new(s.from), Color: s.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(list)
}

func colored(mode dashboard.FieldColorModeId) *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(mode)
}

// number returns a panel with one big value.
func number(unit string, t *dashboard.ThresholdsConfigBuilder) *stat.PanelBuilder {
	return stat.NewPanelBuilder().
		Unit(unit).
		Thresholds(t).
		ColorScheme(colored(dashboard.FieldColorModeIdThresholds)).
		ColorMode(common.BigValueColorModeValue).
		GraphMode(common.BigValueGraphModeNone).
		TextMode(common.BigValueTextModeValue).
		JustifyMode(common.BigValueJustifyModeCenter).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}))
}

// graph returns a panel with a line for each series.
func graph(unit string) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().
		Unit(unit).
		Min(0).
		ColorScheme(colored(dashboard.FieldColorModeIdPaletteClassic)).
		LineWidth(2).
		FillOpacity(0).
		ShowPoints(common.VisibilityModeNever).
		SpanNulls(common.BoolOrFloat64{Bool: new(false)}).
		Legend(common.NewVizLegendOptionsBuilder().
			DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).
			ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().
			Mode(common.TooltipDisplayModeMulti).
			Sort(common.SortOrderDescending).
			HideZeros(true))
}

// bars returns a panel with stacked counts. A bar counts the interval that ends at it.
func bars() *timeseries.PanelBuilder {
	return graph("none").
		Decimals(0).
		DrawStyle(common.GraphDrawStyleBars).
		FillOpacity(85).
		LineWidth(1).
		BarAlignment(common.BarAlignmentBefore).
		Interval("1m").
		// About half an hour each in a day.
		MaxDataPoints(48).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
}

func property(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

func fixed(color string) dashboard.DynamicConfigValue {
	return property("color", map[string]any{"mode": "fixed", "fixedColor": color})
}

func limits(t *dashboard.ThresholdsConfigBuilder) dashboard.DynamicConfigValue {
	config, err := t.Build()
	if err != nil {
		panic(err)
	}
	return property("thresholds", config)
}

// textColored gives the text of a cell the colour of its value.
var textColored = property("custom.cellOptions", map[string]any{"type": "color-text"})

func unit(name string) dashboard.DynamicConfigValue { return property("unit", name) }

func decimals(n int) dashboard.DynamicConfigValue { return property("decimals", n) }

func width(px int) dashboard.DynamicConfigValue { return property("custom.width", px) }

// word is how a value is shown.
type word struct {
	value, text, color string
}

func valueMap(words []word) dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, w := range words {
		options[w.value] = dashboard.ValueMappingResult{Text: new(w.text), Color: new(w.color), Index: new(int32(i))}
	}
	return dashboard.ValueMapping{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}
}

// left aligns numbers that are shown as words.
var left = property("custom.align", "left")

func mapped(words ...word) dashboard.DynamicConfigValue {
	return property("mappings", []dashboard.ValueMapping{valueMap(words)})
}

// statuses are those of finished sessions, with their colours on all boards.
var statuses = []struct{ name, sign, color string }{
	{"Succeeded", "✓", green},
	{"Warning", "▲", orange},
	{"Failed", "✗", vermilion},
	{"Canceled", "■", purple},
}

// statusWords returns how the values of the label status are shown.
func statusWords() []word {
	var words []word
	for _, s := range statuses {
		words = append(words, word{s.name, s.sign + " " + s.name, s.color})
	}
	return words
}

// byStatus gives the series of statuses their colours.
func byStatus[T panelBuilder[T]](p T) T {
	for _, s := range statuses {
		p = p.OverrideByName(s.name, []dashboard.DynamicConfigValue{fixed(s.color)})
	}
	return p
}

// column is a column of a table: a label, or the value of a query ("A").
type column struct {
	from, title string
	properties  []dashboard.DynamicConfigValue
}

func col(from, title string, properties ...dashboard.DynamicConfigValue) column {
	return column{from, title, properties}
}

// grid returns a table with the given columns, and a row for each combination of labels
// that its queries have in common.
func grid(columns ...column) *table.PanelBuilder {
	p := table.NewPanelBuilder().
		ShowHeader(true).
		CellHeight(common.TableCellHeightSm).
		Align(common.FieldTextAlignmentAuto).
		// With a larger minimum, some columns do not fit on the screen.
		MinWidth(50).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})).
		ColorScheme(colored(dashboard.FieldColorModeIdThresholds)).
		Thresholds(steps("text"))
	// A cell without a value is empty. The text for no data is for a table without rows.
	p = p.OverrideByRegexp("/.*/", []dashboard.DynamicConfigValue{property("noValue", "")})
	index, renamed := map[string]any{}, map[string]any{}
	include := map[string]any{}
	queries := 0
	for _, c := range columns {
		if len(c.from) == 1 {
			queries++
		}
	}
	for i, c := range columns {
		n := c.from
		switch {
		case len(n) == 1 && queries > 1:
			n = "Value #" + n
		case len(n) == 1:
			n = "Value"
		}
		index[n], renamed[n], include[n] = i, c.title, true
		if len(c.properties) > 0 {
			p = p.OverrideByName(c.title, c.properties)
		}
	}
	return p.Transformations([]dashboard.DataTransformerConfig{
		{Id: "merge", Options: map[string]any{}},
		{Id: "organize", Options: map[string]any{
			"includeByName": include,
			"excludeByName": map[string]any{},
			"indexByName":   index,
			"renameByName":  renamed,
		}},
	})
}

// order is a column by which the rows of a table are sorted.
type order struct {
	column     string
	descending bool
}

// sorted sorts the rows of a table by the first column, rows that are equal there by the next.
func sorted(p *table.PanelBuilder, by ...order) *table.PanelBuilder {
	var all []cog.Builder[common.TableSortByFieldState]
	for _, o := range by {
		all = append(all, common.NewTableSortByFieldStateBuilder().DisplayName(o.column).Desc(o.descending))
	}
	return p.SortBy(all)
}

// toPolicy links a cell with the name of a policy to its board.
var toPolicy = property("links", []map[string]any{{
	"title":       "The policy's board",
	"targetBlank": false,
	"url": "/d/" + policyUID + "?${datasource:queryparam}&${cluster:queryparam}&${job:queryparam}" +
		"&var-appliance=${__data.fields.Appliance:percentencode}&var-policy=${__value.raw:percentencode}&${__url_time_range}",
}})

func option(text, value string, multi bool) dashboard.VariableOption {
	o := dashboard.VariableOption{Selected: new(true)}
	if multi {
		o.Text.ArrayOfString, o.Value.ArrayOfString = []string{text}, []string{value}
	} else {
		o.Text.String, o.Value.String = &text, &value
	}
	return o
}

// choice adds a variable with the values of a label, of which any number can be chosen.
// The default is all of them, as the regular expression all.
func (b *board) choice(name, label, description, series, all string) {
	b.WithVariable(b.values(name, label, description, series).
		Multi(true).IncludeAll(true).AllValue(all).Current(option("All", "$__all", true)))
	b.scope = append(b.scope, narrowing{name, labels.MatchRegexp})
}

// one adds a variable with the values of a label, of which one is chosen: by default
// current, or the first if current is empty.
func (b *board) one(name, label, description, series, current string) {
	v := b.values(name, label, description, series).Multi(false).IncludeAll(false)
	if current != "" {
		v = v.Current(option(current, current, false))
	}
	b.WithVariable(v)
	// Grafana does not escape a single value for a regular expression.
	b.scope = append(b.scope, narrowing{name, labels.MatchEqual})
}

// values returns a variable with a label's values in series, narrowed by the variables before it.
func (b *board) values(name, label, description, series string) *dashboard.QueryVariableBuilder {
	// The function is Grafana's, and not PromQL.
	query := fmt.Sprintf("label_values(%s, %s)", b.query(series), name)
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Description(description).
		Datasource(dataSourceRef).
		Query(dashboard.StringOrMap{Map: map[string]any{"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}}).
		Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalCaseInsensitiveAsc)
}
