package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// The palette of Okabe and Ito, which people who are colour-blind can tell apart. Nothing
// is said by a colour alone: there is a word, a sign or a number beside each.
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

// board is a dashboard in the making. Panels go from left to right, and below where
// the line is full.
type board struct {
	*dashboard.DashboardBuilder
	scope
	id, x, y, line uint32
}

// dataSourceRef is the data source that the board's variable names.
var dataSourceRef = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

const tag = "vbaws_exporter"

func newBoard(uid, title, description string, s scope) *board {
	b := &board{scope: s}
	b.DashboardBuilder = dashboard.NewDashboardBuilder("Veeam Backup for AWS / " + title).
		Uid(uid).
		Description(description).
		Tags([]string{"veeam", "backup", tag}).
		Timezone(common.TimeZoneBrowser).
		Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Refresh("1m").
		Editable().
		// All boards of the exporter, with what was chosen here.
		Link(dashboard.NewDashboardLinkBuilder("Boards").
			Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{tag}).
			IncludeVars(true).
			KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").
			Label("Data source").
			Description("The Prometheus that scrapes vbaws_exporter").
			Type("prometheus"))
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

// about is what every panel says of itself.
type about struct {
	title, description string
	// none stands where there is no data.
	none string
	// w and h are its size, in Grafana's units, of which 24 make a line.
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

// now asks for one value of each series, at the end of the time that is shown.
func (b *board) now(expr string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(b.query(expr)).Instant()
}

// rows is now for a table.
func (b *board) rows(expr string) *prometheus.DataqueryBuilder {
	return b.now(expr).Format(prometheus.PromQueryFormatTable)
}

// over asks for the course of each series.
func (b *board) over(expr, legend string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(b.query(expr)).Range().LegendFormat(legend)
}

type step struct {
	from  float64
	color string
}

// steps are thresholds: a colour up to the first step, and one from each on.
func steps(color string, from ...step) *dashboard.ThresholdsConfigBuilder {
	list := []dashboard.Threshold{{Color: color}}
	for _, s := range from {
		list = append(list, dashboard.Threshold{Value: cog.ToPtr(s.from), Color: s.color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(list)
}

func colored(mode dashboard.FieldColorModeId) *dashboard.FieldColorBuilder {
	return dashboard.NewFieldColorBuilder().Mode(mode)
}

// number is one big value.
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

// graph is a line for each series.
func graph(unit string) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().
		Unit(unit).
		Min(0).
		ColorScheme(colored(dashboard.FieldColorModeIdPaletteClassic)).
		LineWidth(2).
		FillOpacity(0).
		ShowPoints(common.VisibilityModeNever).
		SpanNulls(common.BoolOrFloat64{Bool: cog.ToPtr(false)}).
		Legend(common.NewVizLegendOptionsBuilder().
			DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).
			ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().
			Mode(common.TooltipDisplayModeMulti).
			Sort(common.SortOrderDescending).
			HideZeros(true))
}

// bars are counts, stacked; each is of the interval that ends with it. Where a variable
// says how long they are, panel and query have it: a panel is asked anew for what its
// queries mention.
func bars() *timeseries.PanelBuilder {
	return graph("none").
		Decimals(0).
		DrawStyle(common.GraphDrawStyleBars).
		FillOpacity(85).
		LineWidth(1).
		BarAlignment(common.BarAlignmentBefore).
		// More than there can be bars: then the interval is the one that was chosen.
		MaxDataPoints(2000).
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

// textColored makes the text of a cell have the colour of its value.
var textColored = property("custom.cellOptions", map[string]any{"type": "color-text"})

func unit(name string) dashboard.DynamicConfigValue { return property("unit", name) }

func width(px int) dashboard.DynamicConfigValue { return property("custom.width", px) }

// word is how a value is shown.
type word struct {
	value, text, color string
}

func valueMap(words []word) dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, w := range words {
		options[w.value] = dashboard.ValueMappingResult{Text: cog.ToPtr(w.text), Color: cog.ToPtr(w.color), Index: cog.ToPtr(int32(i))}
	}
	return dashboard.ValueMapping{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}
}

// left is for numbers that are shown as words.
var left = property("custom.align", "left")

func mapped(words ...word) dashboard.DynamicConfigValue {
	return property("mappings", []dashboard.ValueMapping{valueMap(words)})
}

// statuses are how a session ended, and their colours everywhere.
var statuses = []struct{ name, sign, color string }{
	{"Succeeded", "✓", green},
	{"Warning", "▲", orange},
	{"Failed", "✗", vermilion},
	{"Canceled", "■", purple},
}

// statusWords show the label status.
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

// column is one of a table: a label, or the value of a query ("A").
type column struct {
	from, title string
	properties  []dashboard.DynamicConfigValue
}

// grid is a table with a row for each combination of labels that its queries have in
// common, and the given columns.
func grid(columns ...column) *table.PanelBuilder {
	p := table.NewPanelBuilder().
		ShowHeader(true).
		CellHeight(common.TableCellHeightSm).
		Align(common.FieldTextAlignmentAuto).
		// Else it is so wide that not all columns are seen at once.
		MinWidth(50).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{})).
		ColorScheme(colored(dashboard.FieldColorModeIdThresholds)).
		Thresholds(steps("text"))
	// Where nothing is known of a row: not what the table says where it has no rows.
	p = p.OverrideByRegexp("/.*/", []dashboard.DynamicConfigValue{property("noValue", "")})
	index, renamed := map[string]any{}, map[string]any{}
	include := map[string]any{}
	for i, c := range columns {
		names := []string{c.from}
		if len(c.from) == 1 {
			names = []string{"Value #" + c.from}
			if c.from == "A" {
				names = append(names, "Value") // where it is the only query
			}
		}
		for _, n := range names {
			index[n], renamed[n], include[n] = i, c.title, true
		}
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

// sorted puts the rows of a table into order.
func sorted(p *table.PanelBuilder, by string, descending bool) *table.PanelBuilder {
	return p.SortBy([]cog.Builder[common.TableSortByFieldState]{
		common.NewTableSortByFieldStateBuilder().DisplayName(by).Desc(descending),
	})
}

// toPolicy links a cell with the name of a policy to its board.
var toPolicy = property("links", []map[string]any{{
	"title":       "The policy's board",
	"targetBlank": false,
	"url": "/d/" + policyUID + "?var-datasource=${datasource}&var-appliance=${__data.fields.Appliance:percentencode}" +
		"&var-policy=${__value.raw:percentencode}&${__url_time_range}",
}})

func option(text, value string, multi bool) dashboard.VariableOption {
	o := dashboard.VariableOption{Selected: cog.ToPtr(true)}
	if multi {
		o.Text.ArrayOfString, o.Value.ArrayOfString = []string{text}, []string{value}
	} else {
		o.Text.String, o.Value.String = &text, &value
	}
	return o
}

// choice is a variable with the values of a label: any number of them, and all at
// first. What is on the board then is narrowed by nothing.
func (b *board) choice(name, label, description, series string) {
	b.WithVariable(b.choices(name, label, description, series).Current(option("All", "$__all", true)))
}

func (b *board) choices(name, label, description, series string) *dashboard.QueryVariableBuilder {
	return b.chosen(name, label, description, series).Multi(true).IncludeAll(true).AllValue(".*")
}

// one is a variable with the values of a label, one of which is chosen.
func (b *board) one(name, label, description, series string) {
	b.WithVariable(b.chosen(name, label, description, series).Multi(false).IncludeAll(false))
}

func (b *board) chosen(name, label, description, series string) *dashboard.QueryVariableBuilder {
	// The function is Grafana's, and no PromQL.
	series = b.query(series)
	query := fmt.Sprintf("label_values(%s, %s)", series, name)
	return dashboard.NewQueryVariableBuilder(name).
		Label(label).
		Description(description).
		Datasource(dataSourceRef).
		Query(dashboard.StringOrMap{Map: map[string]any{"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"}}).
		Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).
		Sort(dashboard.VariableSortAlphabeticalCaseInsensitiveAsc)
}

// custom is a variable with given values, written as Grafana does: "text : value".
func (b *board) custom(name, label, description, current string, values ...string) {
	text, value, ok := strings.Cut(current, " : ")
	if !ok {
		value = text
	}
	b.WithVariable(dashboard.NewCustomVariableBuilder(name).
		Label(label).
		Description(description).
		Values(dashboard.StringOrMap{String: cog.ToPtr(strings.Join(values, ","))}).
		Current(option(text, value, false)).
		Multi(false).
		IncludeAll(false))
}
