// Sends the queries of a board's panels to Prometheus as Grafana does: for graphs at the points
// of a step that follows from the time range and the panel's options, aligned to multiples
// of it.

const units = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
export const seconds = (text) => Number(text.slice(0, -1)) * units[text.at(-1)];
const duration = (s) => (s % 3600 === 0 ? `${s / 3600}h` : s % 60 === 0 ? `${s / 60}m` : `${s}s`);

// Grafana rounds an interval to one of these.
const rounds = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
const round = (s) => rounds.reduce((best, r) => (Math.abs(r - s) < Math.abs(best - s) ? r : best));

export class Board {
  constructor(json, { url, from, to, scrapeInterval, variables }) {
    Object.assign(this, { json, url, from, to, scrapeInterval, variables: { ...variables } });
  }

  async get(path, query) {
    const response = await fetch(this.url + path, { method: 'POST', body: new URLSearchParams(query) });
    const answer = await response.json();
    if (answer.status !== 'success') {
      throw new Error(`${path} ${JSON.stringify(query)}: ${answer.error}`);
    }
    return answer.data;
  }

  // In a query, the choice All of a variable is its allValue.
  interpolate(text, more = {}) {
    const values = { ...this.variables, ...more };
    return text.replace(/\$\{?(\w+)\}?/g, (whole, name) => (name in values ? values[name].replace(/^All$/, '.*') : whole));
  }

  // Sets each variable that has no value to its first one.
  async choose() {
    for (const v of this.json.templating.list) {
      if (v.name in this.variables || v.type === 'datasource') {
        continue;
      }
      const now = v.current?.text;
      if (now) {
        const [value] = [v.current.value].flat();
        this.variables[v.name] = value === '$__all' ? 'All' : value;
        continue;
      }
      const [, series, label] = v.definition.match(/^label_values\((.+), (\w+)\)$/);
      const values = await (await fetch(`${this.url}/api/v1/label/${label}/values?` +
        new URLSearchParams({ 'match[]': this.interpolate(series), start: this.from, end: this.to }))).json();
      this.variables[v.name] = values.data[0];
    }
  }

  async panel(panel, width) {
    const least = panel.interval ? seconds(this.interpolate(panel.interval)) : this.scrapeInterval;
    const points = panel.maxDataPoints ?? width;
    const step = Math.max(round((this.to - this.from) / points), least);
    const results = [];
    for (const target of panel.targets ?? []) {
      const query = this.interpolate(target.expr, {
        __interval: duration(step),
        __range: duration(this.to - this.from),
        __range_s: String(this.to - this.from),
        __rate_interval: duration(Math.max(step + this.scrapeInterval, 4 * this.scrapeInterval)),
      });
      const data = target.instant
        ? await this.get('/api/v1/query', { query, time: this.to })
        : await this.get('/api/v1/query_range', {
          query, step, start: Math.floor(this.from / step) * step, end: Math.floor(this.to / step) * step,
        });
      const exemplars = target.exemplar
        ? await this.get('/api/v1/query_exemplars', { query, start: this.from, end: this.to })
        : [];
      results.push({ refId: target.refId, target, step, exemplars, series: data.result });
    }
    return results;
  }
}
