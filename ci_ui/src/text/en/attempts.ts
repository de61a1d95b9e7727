export const attemptsText = {
  attempt: "Attempt",
  reason: "Reason",
  number: (attempt: number, most: number) =>
    most === 1 ? "It has one attempt: its ci.yaml asks for no retry." : `Attempt ${attempt} of at most ${most}.`,
};
