// Rates, losses and latency of every stream and of everyone who reads it.
import { count, rate, seconds } from "./format";
import { session, status } from "./store";

export function Streams() {
  const streams = Object.entries(status.value?.streams ?? {});
  if (!streams.length) return <p class="empty">No stream yet.</p>;
  return (
    <div class="streams">
      <table>
        <thead>
          <tr>
            <th scope="col">stream ▸ reader</th>
            <th scope="col" title="items each second">rate/s</th>
            <th scope="col" title="items published or received">items</th>
            <th scope="col" title="lost by the device, or by the reader">lost</th>
            <th scope="col" title="published but not yet read">behind</th>
            <th scope="col" title="from exposure to publication, or to the reader: half are faster">
              p50
            </th>
            <th scope="col" title="99 in 100 are faster">p99</th>
          </tr>
        </thead>
        {streams.map(([name, s]) => (
          <tbody key={name}>
            <tr class="stream">
              <th scope="row" title={detail(name)}>
                {name}
              </th>
              <td>{rate(s.rate)}</td>
              <td>{count(s.published)}</td>
              <Lost n={s.device_lost} title="lost by the device" />
              <td />
              <td>{seconds(s.latency?.p50)}</td>
              <td>{seconds(s.latency?.p99)}</td>
            </tr>
            {Object.entries(s.readers).map(([reader, r]) => (
              <tr key={reader}>
                <th scope="row">
                  ▸ {reader} <small>{r.policy}</small>
                </th>
                <td />
                <td>{count(r.received)}</td>
                <Lost n={r.lost} title={causes(r.causes, r.skipped)} />
                <td>{count(r.behind)}</td>
                <td>{seconds(r.latency?.p50)}</td>
                <td>{seconds(r.latency?.p99)}</td>
              </tr>
            ))}
          </tbody>
        ))}
      </table>
    </div>
  );
}

function Lost({ n, title }: { n: number; title: string }) {
  return (
    <td class={n ? "bad" : "none"} title={title}>
      {count(n)}
    </td>
  );
}

function causes(found: Record<string, number>, skipped: number): string {
  const parts = Object.entries(found).map(([cause, n]) => `${cause}: ${n}`);
  if (skipped) parts.push(`skipped on purpose: ${skipped}`);
  return parts.join("\n") || "nothing lost";
}

function detail(name: string): string {
  const info = session.value?.streams[name];
  if (!info) return "";
  return info.is_rows
    ? `rows of ${info.columns.join(", ")}`
    : `${info.shape.join(" × ")} ${info.pixel_format || info.dtype}`;
}
