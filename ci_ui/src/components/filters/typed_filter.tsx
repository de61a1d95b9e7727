import { type RefObject, useEffect, useRef, useState } from "react";

const PAUSE_MS = 350;

interface Props {
  label: string;
  value: string;
  onTyped: (value: string) => void;
  type?: "search" | "text";
  placeholder?: string;
  ref?: RefObject<HTMLInputElement | null>;
}

/** A field whose text counts once typing has paused. */
export function TypedFilter({ label, value, onTyped, type = "text", placeholder, ref }: Props) {
  const [typed, setTyped] = useState(value);
  const sent = useRef(value);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => {
    // The address has changed by other means, such as Back or a view.
    if (value !== sent.current) setTyped(value);
    sent.current = value;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const send = (text: string) => {
    clearTimeout(timer.current);
    if (text === sent.current) return;
    sent.current = text;
    onTyped(text);
  };
  return (
    <label>
      {label}
      <input
        ref={ref}
        type={type}
        value={typed}
        placeholder={placeholder}
        onChange={(event) => {
          const text = event.target.value;
          setTyped(text);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => send(text), PAUSE_MS);
        }}
        onKeyDown={(event) => event.key === "Enter" && send(typed)}
        onBlur={() => send(typed)}
      />
    </label>
  );
}
