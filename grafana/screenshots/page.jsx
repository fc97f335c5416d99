// Draws a board with Grafana's own components and its own rules for fields: units,
// thresholds, mappings, overrides and transformations. Its libraries lack the state timeline and
// the heat map, which this file draws.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { firstValueFrom, of } from 'rxjs';
import {
  applyFieldOverrides, cacheFieldDisplayNames, createTheme, dateTime, FieldType, formattedValueToString, getFieldDisplayName,
  getFieldDisplayValues, getValueFormat, Registry, standardTransformers, ThemeContext, toDataFrame,
} from '@grafana/data';
import { BigValue, PanelChrome, TimeSeries, VizLegend } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import '@grafana/react-data-grid/lib/styles.css';
import 'uplot/dist/uPlot.min.css';
import { headerHeight, pageWidth, place, size } from './grid.mjs';

const { json, results, from, to, range, variables } = window.input;
const theme = createTheme({ colors: { mode: 'dark' } });
const timeRange = { from: dateTime(from * 1000), to: dateTime(to * 1000), raw: { from: `now-${range}`, to: 'now' } };
const timeZone = 'utc';

// The options of a field's configuration. Values need no conversion.
const property = (path, isCustom) => ({
  id: isCustom ? `custom.${path}` : path, path, name: path, isCustom, process: (v) => v, shouldApply: () => true,
});
const fieldConfigRegistry = new Registry(() => [
  ...['unit', 'decimals', 'min', 'max', 'displayName', 'noValue', 'thresholds', 'mappings', 'links', 'color'].map((p) => property(p)),
  ...Object.keys({
    ...Object.assign({}, ...json.panels.map((p) => p.fieldConfig?.defaults.custom)),
    width: 0, cellOptions: 0, lineStyle: 0, lineWidth: 0, hideFrom: 0,
  }).map((p) => property(p, true)),
]);

// JSON has no infinity.
const thresholds = (t) => t && { ...t, steps: t.steps.map((s) => ({ ...s, value: s.value ?? -Infinity })) };
const fieldConfig = (c) => ({
  defaults: { ...c.defaults, thresholds: thresholds(c.defaults.thresholds) },
  overrides: c.overrides.map((o) => ({
    ...o, properties: o.properties.map((p) => (p.id === 'thresholds' ? { ...p, value: thresholds(p.value) } : p)),
  })),
});

const legend = (format, metric) => (format ?? '').replace(/\{\{(\w+)\}\}/g, (_, label) => metric[label] ?? '');

// Frames as Grafana's Prometheus data source makes them.
function frames(panel) {
  return results[panel.id].flatMap(({ refId, target, series, step }) => {
    if (target.format === 'table') {
      const labels = [...new Set(series.flatMap((s) => Object.keys(s.metric)))].sort();
      return toDataFrame({
        refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: series.map((s) => s.value[0] * 1000) },
          ...labels.map((l) => ({ name: l, type: FieldType.string, values: series.map((s) => s.metric[l] ?? '') })),
          {
            name: results[panel.id].length > 1 ? `Value #${refId}` : 'Value', type: FieldType.number,
            values: series.map((s) => Number(s.value[1])),
          },
        ],
      });
    }
    return series.filter((s) => s.value ?? s.values).map((s) => {
      const samples = s.values ?? [s.value];
      // A point for each step. A step without a sample has no value.
      const at = new Map(samples.filter(([, value]) => value !== 'NaN').map(([time, value]) => [time, Number(value)]));
      const times = s.values ? [] : [s.value[0]];
      for (let time = Math.floor(from / step) * step; s.values && time <= to; time += step) {
        times.push(time);
      }
      return toDataFrame({
        refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000), config: { interval: step * 1000 } },
          {
            name: 'Value', type: FieldType.number, labels: s.metric, values: times.map((time) => at.get(time) ?? null),
            config: { displayNameFromDS: legend(target.legendFormat, s.metric) },
          },
        ],
      });
    });
  });
}

const transformers = { merge: standardTransformers.mergeTransformer, organize: standardTransformers.organizeFieldsTransformer };

async function prepared(panel) {
  let data = frames(panel);
  for (const { id, options } of panel.transformations ?? []) {
    data = await firstValueFrom(of(data).pipe(transformers[id].operator(options, { interpolate: (v) => v })));
  }
  data = applyFieldOverrides({
    data, fieldConfig: fieldConfig(panel.fieldConfig), fieldConfigRegistry, theme, timeZone,
    replaceVariables: (v) => v,
  });
  cacheFieldDisplayNames(data);
  return data;
}

const Nothing = ({ panel }) => (
  <div style={{ display: 'flex', height: '100%', alignItems: 'center', justifyContent: 'center', textAlign: 'center', color: theme.colors.text.secondary, fontSize: 14 }}>
    {panel.fieldConfig.defaults.noValue}
  </div>
);

function Stat({ panel, data, width, height }) {
  const [value] = getFieldDisplayValues({
    fieldConfig: fieldConfig(panel.fieldConfig), reduceOptions: panel.options.reduceOptions, replaceVariables: (v) => v, theme, data, timeZone,
  });
  const { noValue } = panel.fieldConfig.defaults;
  const display = data.length ? value.display : { text: noValue, numeric: NaN, color: theme.colors.text.secondary };
  return (
    <BigValue value={display} width={width} height={height} theme={theme} colorMode={panel.options.colorMode} graphMode="none"
      justifyMode={panel.options.justifyMode} textMode={panel.options.textMode} />
  );
}

function Grid({ panel, data, width, height }) {
  return data[0]?.length
    ? (
      <TableNG data={data[0]} width={width} height={height} cellHeight={panel.options.cellHeight} timeRange={timeRange}
        sortBy={panel.options.sortBy} enableSharedCrosshair={false} fieldConfig={fieldConfig(panel.fieldConfig)} structureRev={1} />
    )
    : <Nothing panel={panel} />;
}

function Graph({ panel, data, width, height }) {
  return data.length
    ? <TimeSeries frames={data} width={width} height={height} timeRange={timeRange} timeZone={timeZone} legend={panel.options.legend} options={panel.options} />
    : <Nothing panel={panel} />;
}

const axis = { fill: theme.colors.text.secondary, fontSize: 12, fontFamily: theme.typography.fontFamily };
const unix = (time) => dateTime(time * 1000).utc().format('HH:mm');

function Times({ x, y, width }) {
  const ticks = [60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400].find((s) => ((to - from) / s) * 70 < width) ?? 86400;
  const times = [];
  for (let time = Math.ceil(from / ticks) * ticks; time <= to; time += ticks) {
    times.push(time);
  }
  return times.map((time) => <text key={time} x={x(time)} y={y} textAnchor="middle" {...axis}>{unix(time)}</text>);
}

function TimeLine({ panel, data, width, height }) {
  if (!data.length) {
    return <Nothing panel={panel} />;
  }
  const { showLegend } = panel.options.legend;
  const names = data.map((frame) => getFieldDisplayName(frame.fields[1], frame, data));
  const left = Math.min(Math.max(...names.map((name) => name.length)) * 6.2 + 16, width / 2);
  const bottom = showLegend ? 54 : 24;
  const x = (time) => left + ((Math.max(time, from) - from) / (to - from)) * (width - left);
  const rowHeight = (height - bottom) / data.length;
  const seen = new Map();
  return (
    <div>
      <svg width={width} height={showLegend ? height - 30 : height}>
        {data.map((frame, row) => {
          const [time, value] = frame.fields;
          const name = names[row];
          const y = row * rowHeight + rowHeight * (1 - panel.options.rowHeight) / 2;
          const states = [];
          time.values.forEach((t, i) => {
            const v = value.values[i];
            if (states.at(-1)?.v !== v) {
              states.push({ v, from: t / 1000 });
            }
            states.at(-1).to = t / 1000 + time.config.interval / 1000;
          });
          return (
            <g key={name}>
              <text x={left - 8} y={row * rowHeight + rowHeight / 2 + 4} textAnchor="end" {...axis}>{name}</text>
              {states.filter((s) => s.v !== null).map((s) => {
                const display = value.display(s.v);
                seen.set(display.text, display.color);
                const w = x(Math.min(s.to, to)) - x(s.from);
                return (
                  <g key={s.from}>
                    <rect x={x(s.from)} y={y} width={Math.max(w, 1)} height={rowHeight * panel.options.rowHeight} fill={display.color} fillOpacity="0.85" />
                    {w > display.text.length * 8
                      && <text x={x(s.from) + 4} y={row * rowHeight + rowHeight / 2 + 4} {...axis} fill="#000">{display.text}</text>}
                  </g>
                );
              })}
            </g>
          );
        })}
        <Times x={x} y={height - bottom + 20} width={width - left} />
      </svg>
      {showLegend && <VizLegend placement="bottom" displayMode="list" items={[...seen].map(([label, color]) => ({ label, color, yAxis: 1 }))} />}
    </div>
  );
}

// Cividis: from dark blue to yellow, even for people who are colour-blind.
const cividis = ['#00204c', '#2b446e', '#575d6d', '#7c7b78', '#a69d75', '#d3c164', '#ffe945'];
function scale(f) {
  const at = Math.min(Math.max(f, 0), 1) * (cividis.length - 1);
  const [a, b] = [cividis[Math.floor(at)], cividis[Math.ceil(at)]].map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  return `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * (at % 1))).join()})`;
}

function HeatMap({ panel, width, height }) {
  const [{ series, step, exemplars }] = results[panel.id];
  const cells = [];
  for (const s of series) {
    for (const [time, h] of s.histograms ?? []) {
      for (const [, low, high, count] of h.buckets ?? []) {
        cells.push({ time, low: Number(low), high: Number(high), count: Number(count) });
      }
    }
  }
  const classic = series.filter((s) => s.metric.le).sort((a, b) => Number(a.metric.le.replace('+', '')) - Number(b.metric.le.replace('+', '')));
  classic.forEach((s, i) => {
    const below = new Map(classic[i - 1]?.values ?? []);
    for (const [time, count] of s.values) {
      cells.push({
        time, low: Number(classic[i - 1]?.metric.le ?? 0), high: Number(s.metric.le), count: Number(count) - Number(below.get(time) ?? 0),
      });
    }
  });
  const drawn = cells.filter((c) => c.count > panel.options.filterValues.le && c.low > 0 && Number.isFinite(c.high));
  if (!drawn.length) {
    return <Nothing panel={panel} />;
  }
  const [left, bottom] = [56, 48];
  const [low, high, most] = [Math.min(...drawn.map((c) => c.low)) * 0.8, Math.max(...drawn.map((c) => c.high)) * 1.25, Math.max(...drawn.map((c) => c.count))];
  const x = (time) => left + ((time - from) / (to - from)) * (width - left);
  const y = (v) => 8 + (height - bottom - 8) * (1 - Math.log(v / low) / Math.log(high / low));
  const format = getValueFormat(panel.options.yAxis.unit);
  const ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400].filter((v) => v > low && v < high);
  const marks = exemplars.flatMap((e) => e.exemplars).filter((e) => e.timestamp >= from && e.value > low && e.value < high);
  return (
    <svg width={width} height={height}>
      {ticks.map((v) => (
        <g key={v}>
          <line x1={left} x2={width} y1={y(v)} y2={y(v)} stroke={theme.colors.border.weak} />
          <text x={left - 6} y={y(v) + 4} textAnchor="end" {...axis}>{formattedValueToString(format(v))}</text>
        </g>
      ))}
      {drawn.map((c) => (
        <rect key={`${c.time} ${c.low}`} x={Math.max(x(c.time - step), left) + 0.5} width={Math.max(x(c.time) - x(c.time - step) - 1, 1)}
          y={y(c.high) + 0.5} height={Math.max(y(c.low) - y(c.high) - 1, 1)} fill={scale(c.count / most)} />
      ))}
      {marks.map((e) => (
        <path key={e.labels.session_id} d={`M${x(e.timestamp)},${y(e.value) - 4} l4,4 l-4,4 l-4,-4 z`} fill={panel.options.exemplars.color} stroke="#000" strokeWidth="0.5" />
      ))}
      <Times x={x} y={height - bottom + 16} width={width - left} />
      {cividis.map((c, i) => <rect key={c} x={left + i * 24} y={height - 22} width={24} height={8} fill={c} />)}
      <text x={left} y={height - 3} {...axis}>1 session</text>
      <text x={left + cividis.length * 24} y={height - 3} textAnchor="end" {...axis}>{Math.round(most)}</text>
      <path d={`M${left + 240},${height - 22} l4,4 l-4,4 l-4,-4 z`} fill={panel.options.exemplars.color} />
      <text x={left + 250} y={height - 14} {...axis}>a session, with its session_id</text>
    </svg>
  );
}

const kinds = { stat: Stat, table: Grid, timeseries: Graph, 'state-timeline': TimeLine, heatmap: HeatMap };

function Panel({ panel, data }) {
  const { width, height } = size(panel.gridPos);
  const style = { position: 'absolute', ...place(panel.gridPos), width, height };
  if (panel.type === 'row') {
    return <div style={{ ...style, color: theme.colors.text.primary, fontSize: 16, fontWeight: 500, lineHeight: '30px' }}>⌄ {panel.title}</div>;
  }
  const Kind = kinds[panel.type];
  return (
    <div style={style}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(w, h) => <Kind panel={panel} data={data} width={w} height={h} />}
      </PanelChrome>
    </div>
  );
}

const Control = ({ label, value }) => (
  <span style={{ display: 'inline-flex', marginRight: 8, border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, fontSize: 12, lineHeight: '28px' }}>
    {label && <span style={{ padding: '0 8px', background: theme.colors.background.secondary, color: theme.colors.text.primary }}>{label}</span>}
    <span style={{ padding: '0 8px', color: theme.colors.text.secondary }}>{value}</span>
  </span>
);

(async () => {
  const data = {};
  for (const panel of json.panels) {
    if (panel.type !== 'row' && panel.type !== 'heatmap') {
      data[panel.id] = await prepared(panel);
    }
  }
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <div style={{ position: 'relative', width: pageWidth, minHeight: '100vh', background: theme.colors.background.canvas, fontFamily: theme.typography.fontFamily, color: theme.colors.text.primary, fontSize: 14 }}>
        <div style={{ position: 'absolute', left: 16, right: 16, top: 10, height: headerHeight }}>
          <div style={{ fontSize: 18, fontWeight: 500, lineHeight: '28px', display: 'flex', justifyContent: 'space-between' }}>
            <span>{json.title}</span>
            <Control value={`Last ${range}`} />
          </div>
          <div style={{ marginTop: 6 }}>
            {json.templating.list.filter((v) => v.name in variables).map((v) => <Control key={v.name} label={v.label} value={variables[v.name]} />)}
          </div>
        </div>
        {json.panels.map((p) => <Panel key={p.id} panel={p} data={data[p.id]} />)}
      </div>
    </ThemeContext.Provider>,
  );
})();
