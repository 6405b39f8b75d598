// SPDX-License-Identifier: Apache-2.0

/** Longest line of a watch: etcd refuses objects above 1.5 MiB and JSON at most quadruples that; more is not Kubernetes. */
const MAX_LINE = 16 * 1024 * 1024;

/** Non-empty lines of a byte stream. A last line without its end was cut off and is dropped: the watch resumes before it. */
export async function* readLines(stream: AsyncIterable<Buffer>, maxLine = MAX_LINE): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const text = decoder.decode(chunk, { stream: true });
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      const line = rest + text.slice(from, end);
      rest = '';
      from = end + 1;
      if (line !== '') yield line;
    }
    rest += text.slice(from);
    if (rest.length > maxLine) throw new RangeError(`a line of the stream is longer than ${maxLine} characters`);
  }
}
