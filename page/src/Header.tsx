// The top line: which session, how it is, recording, and the way out.
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { stopSession } from "./api";
import { clock, count } from "./format";
import { Recorder } from "./Recorder";
import { connection, lastHeard, message, session, status } from "./store";

export function Header() {
  return (
    <header class="top">
      <img src="/assets/icon.svg" alt="" width={24} height={24} />
      <h1>
        marey <b>{session.value?.name ?? "…"}</b>
      </h1>
      <Health />
      <span class="grow" />
      <Recorder />
      <Stop />
    </header>
  );
}

function Health() {
  const now = status.value;
  if (!now) return null;
  const nodes = Object.values(now.nodes);
  const failed = nodes.filter((n) => n.state === "failed").length;
  const unsettled = nodes.filter((n) => !["running", "ended", "failed"].includes(n.state)).length;
  const streams = Object.values(now.streams);
  // What a reader that wants only the newest skips is not lost.
  const lost =
    streams.reduce((sum, s) => sum + s.device_lost, 0) +
    streams.flatMap((s) => Object.values(s.readers)).reduce((sum, r) => sum + r.lost, 0);
  return (
    <div class="health">
      <span class={failed ? "bad" : unsettled ? "warn" : "good"} role="status">
        <i class={`dot state-${failed ? "failed" : unsettled ? "restarting" : "running"}`} />
        {failed ? `${failed} failed` : unsettled ? `${unsettled} not running` : `${nodes.length} nodes`}
      </span>
      <span class={lost ? "bad" : "good"} title="lost by devices and by readers that want every item">
        <b data-test="lost">{count(lost)}</b> lost
      </span>
      <span class="mono dim" title="time since the start">
        {clock(now.seconds)}
      </span>
    </div>
  );
}

function Stop() {
  const dialog = useRef<HTMLDialogElement>(null);
  const error = useSignal<string | null>(null);
  const name = session.value?.name ?? "";
  async function stop(): Promise<void> {
    try {
      await stopSession();
      connection.value = "stopped";
      dialog.current?.close();
    } catch (problem) {
      error.value = message(problem);
    }
  }
  return (
    <>
      <button class="danger" onClick={() => dialog.current?.showModal()}>
        Stop session
      </button>
      <dialog ref={dialog} aria-labelledby="stop-title">
        <h2 id="stop-title">Stop {name}?</h2>
        <p>Cameras stop, what is being recorded is finished, and this page goes with the session.</p>
        {error.value && <p class="error">{error.value}</p>}
        <div class="buttons">
          <button autofocus onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button class="danger" onClick={() => void stop()}>
            Stop the session
          </button>
        </div>
      </dialog>
    </>
  );
}

export function Banner() {
  switch (connection.value) {
    case "lost":
      return (
        <p class="banner bad" role="alert">
          Connection lost. Last heard at {new Date(lastHeard.value).toLocaleTimeString("en-GB")};
          trying again…
        </p>
      );
    case "stopped":
      return (
        <p class="banner" role="status">
          The session was stopped. This page comes back when it is started again.
        </p>
      );
    case "connecting":
      return (
        <p class="banner" role="status">
          Connecting…
        </p>
      );
    default:
      return null;
  }
}
