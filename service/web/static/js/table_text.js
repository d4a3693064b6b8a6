// The beginning of a table in text (RFC 4180), as rows of cells.

/** Return up to `limit` rows; a last row that was cut off is left out when `isCut`. */
export function rowsOf(text, limit, isCut) {
  const separator = separatorOf(text);
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;

  for (let place = 0; place < text.length && rows.length < limit; place += 1) {
    const char = text[place];
    if (quoted) {
      if (char !== '"') cell += char;
      else if (text[place + 1] === '"') {
        cell += '"';
        place += 1;
      } else quoted = false;
    } else if (char === '"' && cell === "") quoted = true;
    else if (char === separator) {
      row.push(cell);
      cell = "";
    } else if (char === "\n") {
      row.push(cell.replace(/\r$/, ""));
      rows.push(row);
      row = [];
      cell = "";
    } else cell += char;
  }
  if (!isCut && rows.length < limit && (cell || row.length)) rows.push([...row, cell]);
  return rows;
}

function separatorOf(text) {
  const [first] = text.split("\n", 1);
  const counts = [",", ";", "\t", "|"].map((one) => [first.split(one).length, one]);
  return counts.sort((one, other) => other[0] - one[0])[0][1];
}
