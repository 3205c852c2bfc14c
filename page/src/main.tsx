// The page: image on the left, plot and details on the right, events below.
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { useSignal } from "@preact/signals";
import { render } from "preact";
import { Banner, Header } from "./Header";
import { Log } from "./Log";
import { Nodes } from "./Nodes";
import { Plot } from "./plot/Plot";
import { connection, follow, recall, remember, session } from "./store";
import { Streams } from "./Streams";
import { Viewer } from "./view/Viewer";

const TABS = { nodes: Nodes, streams: Streams } as const;
type Tab = keyof typeof TABS;

function Details() {
  const tab = useSignal<Tab>(recall<Tab>("tab", "nodes"));
  const Shown = TABS[tab.value] ?? Nodes;
  return (
    <section class="card details">
      <div class="bar tabs" role="tablist">
        {(Object.keys(TABS) as Tab[]).map((name) => (
          <button
            key={name}
            role="tab"
            aria-selected={tab.value === name}
            onClick={() => remember("tab", (tab.value = name))}
          >
            {name}
          </button>
        ))}
      </div>
      <div class="tab-panel" role="tabpanel">
        <Shown />
      </div>
    </section>
  );
}

function Page() {
  const ready = session.value !== null;
  document.title = ready ? `${session.value!.name} · marey` : "marey";
  return (
    <div class={`page connection-${connection.value}`}>
      <Header />
      <Banner />
      {ready && (
        <main>
          <Viewer />
          <Plot />
          <Details />
          <Log />
        </main>
      )}
    </div>
  );
}

render(<Page />, document.getElementById("page")!);
void follow();
