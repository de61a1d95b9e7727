import { Component, type ReactNode } from "react";
import { commonText } from "#text/common";
import { Unreachable } from "../api/problem";

interface Props {
  children: ReactNode;
  /** When it changes, the children are shown again. */
  resetKey: string;
}

/** Shows a message in place of children that cannot be shown, never a stack trace. */
export class Boundary extends Component<Props, { failed: unknown }> {
  override state = { failed: null as unknown };

  static getDerivedStateFromError(failed: unknown) {
    return { failed };
  }

  override componentDidUpdate(before: Props) {
    if (this.state.failed && before.resetKey !== this.props.resetKey) this.setState({ failed: null });
  }

  override render() {
    if (!this.state.failed) return this.props.children;
    return (
      <section className="notice" role="alert">
        <h1>{commonText.brokenTitle}</h1>
        <p>{this.state.failed instanceof Unreachable ? commonText.unloadedText : commonText.brokenText}</p>
        <button type="button" onClick={() => location.reload()}>
          {commonText.reload}
        </button>
      </section>
    );
  }
}
