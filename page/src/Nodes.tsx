// The nodes of the session: state and load at a glance, settings and actions of the chosen one.
import { useSignal } from "@preact/signals";
import { type NodeInfo, type Schema, setNode, setSession, type Values } from "./api";
import { Actions } from "./Actions";
import { bytes } from "./format";
import { Form } from "./form/Form";
import { fieldsOf } from "./form/schema";
import { recall, reload, remember, session, status, took } from "./store";

const SESSION = "";

export function Nodes() {
  const nodes = session.value?.nodes ?? {};
  const names = Object.keys(nodes);
  const chosen = useSignal(recall("node", names[0] ?? SESSION));
  const shared = sharedSchema(nodes, status.value?.shared ?? {});
  const name = chosen.value in nodes || chosen.value === SESSION ? chosen.value : (names[0] ?? SESSION);
  const pick = (next: string) => {
    chosen.value = next;
    remember("node", next);
  };
  return (
    <div class="nodes">
      <ul class="node-list" aria-label="Nodes">
        {names.map((each) => (
          <NodeButton key={each} name={each} info={nodes[each]!} on={each === name} pick={pick} />
        ))}
        {shared && (
          <li>
            <button aria-pressed={name === SESSION} onClick={() => pick(SESSION)}>
              <i class="dot" />
              <span>whole session</span>
            </button>
          </li>
        )}
      </ul>
      {name === SESSION && shared ? (
        <WholeSession {...shared} />
      ) : (
        nodes[name] && <Detail key={name} name={name} info={nodes[name]} />
      )}
    </div>
  );
}

interface ButtonProps {
  name: string;
  info: NodeInfo;
  on: boolean;
  pick: (name: string) => void;
}

function NodeButton({ name, info, on, pick }: ButtonProps) {
  const now = status.value?.nodes[name];
  const state = now?.state ?? info.state;
  return (
    <li>
      <button aria-pressed={on} onClick={() => pick(name)} title={`${info.kind}: ${state}`}>
        <i class={`dot state-${state}`} />
        <span>{name}</span>
        <small class="mono">{now ? `${(now.cpu * 100).toFixed(0)} %` : ""}</small>
      </button>
    </li>
  );
}

function Detail({ name, info }: { name: string; info: NodeInfo }) {
  const now = status.value?.nodes[name];
  const state = now?.state ?? info.state;
  const error = now?.error || info.error;
  const running = state === "running";
  return (
    <div class="node-detail">
      <header>
        <h3>{name}</h3>
        <span class={`tag state-${state}`}>{state}</span>
        <span class="dim">{info.kind}</span>
        <span class="grow" />
        {now && (
          <span class="mono dim" title={`process ${now.pid ?? "–"}`}>
            {bytes(now.rss)}
            {now.restarts > 0 && ` · ${now.restarts} restart${now.restarts > 1 ? "s" : ""}`}
          </span>
        )}
      </header>
      {error && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      <p class="doc">{info.doc.split("\n\n")[0]}</p>
      <Actions node={name} actions={info.actions} />
      <Form
        schema={info.schema}
        values={info.settings}
        locked={(field) => field.apply === "start" || !running}
        apply={async (values) => {
          took(name, (await setNode(name, values)).settings);
        }}
      />
    </div>
  );
}

/** The settings that nodes take over from the session, each once. */
function sharedSchema(nodes: Record<string, NodeInfo>, shared: Values) {
  const properties: Record<string, Schema> = {};
  const values: Values = {};
  const followers: Record<string, string[]> = {};
  for (const [name, node] of Object.entries(nodes)) {
    for (const field of fieldsOf(node.schema)) {
      if (!field.follows) continue;
      properties[field.name] ??= { ...field.schema, ...node.schema.properties?.[field.name] };
      values[field.name] ??= shared[field.name] ?? node.settings[field.name];
      (followers[field.name] ??= []).push(name);
    }
  }
  if (!Object.keys(properties).length) return null;
  const $defs = Object.assign({}, ...Object.values(nodes).map((node) => node.schema.$defs ?? {}));
  return { schema: { properties, $defs } as Schema, values, followers };
}

function WholeSession(props: NonNullable<ReturnType<typeof sharedSchema>>) {
  return (
    <div class="node-detail">
      <header>
        <h3>whole session</h3>
      </header>
      <p class="doc">
        Settings that several nodes follow:{" "}
        {Object.entries(props.followers)
          .map(([field, names]) => `${field} (${names.join(", ")})`)
          .join("; ")}
        .
      </p>
      <Form
        schema={props.schema}
        values={props.values}
        apply={async (values) => {
          await setSession(values);
          reload();
        }}
      />
    </div>
  );
}
