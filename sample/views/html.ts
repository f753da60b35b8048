/** Markup that is safe to send: all that came from outside was escaped on its way in. */
export class Html {
  constructor(private readonly text: string) {}

  toString(): string {
    return this.text;
  }
}

type Value = string | number | Html | readonly Html[] | undefined | false;

/** A template whose values are escaped, unless they are `Html` themselves. */
export function html(strings: TemplateStringsArray, ...values: Value[]): Html {
  return new Html(String.raw({ raw: strings }, ...values.map(render)));
}

function render(value: Value): string {
  if (value === undefined || value === false) {
    return '';
  }
  if (typeof value === 'object') {
    return value instanceof Html ? value.toString() : value.join('');
  }
  return String(value).replace(/[&<>"']/g, character => `&#${character.charCodeAt(0)};`);
}
