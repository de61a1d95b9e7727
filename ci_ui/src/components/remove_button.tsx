import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { keptText } from "#text/kept";
import { Confirm } from "./dialog";

interface Props {
  /** What is deleted, as the title of the question and the name of the button. */
  name: string;
  question: string;
  remove: () => Promise<unknown>;
  /** The key of the list that is read again. */
  list: string[];
}

/** A button that deletes one thing of a list, once that has been confirmed. */
export function RemoveButton({ name, question, remove, list }: Props) {
  const [asked, setAsked] = useState(false);
  const queries = useQueryClient();
  const removal = useMutation({
    mutationFn: remove,
    onSuccess: async () => {
      setAsked(false);
      await queries.invalidateQueries({ queryKey: list });
    },
  });
  const ask = () => {
    removal.reset();
    setAsked(true);
  };
  return (
    <>
      <button type="button" aria-label={name} onClick={ask}>
        {keptText.remove}
      </button>
      {asked && (
        <Confirm
          title={name}
          action={keptText.remove}
          busy={removal.isPending}
          onConfirm={() => removal.mutate()}
          onClose={() => setAsked(false)}
        >
          <p>{question}</p>
          {removal.error && <p role="alert">{removal.error.message}</p>}
        </Confirm>
      )}
    </>
  );
}
