/** What is searched for. */
export interface Query {
  text: string;
  isExpression: boolean;
  matchesCase: boolean;
}

/** Return the regular expression of a query, with the flag `g`. Throws SyntaxError. */
export function expressionOf(query: Query): RegExp {
  const source = query.isExpression ? query.text : query.text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  return new RegExp(source, query.matchesCase ? "g" : "gi");
}

/** Return why a query cannot be searched for, or null. */
export function faultOf(query: Query): string | null {
  try {
    expressionOf(query);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Return where a query matches in a line. Matches without a character do not count. */
export function matchesIn(line: string, expression: RegExp): [start: number, end: number][] {
  const found: [number, number][] = [];
  expression.lastIndex = 0;
  for (let match = expression.exec(line); match; match = expression.exec(line)) {
    if (match[0] === "") expression.lastIndex += 1;
    else found.push([match.index, match.index + match[0].length]);
  }
  return found;
}
