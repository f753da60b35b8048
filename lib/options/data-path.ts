/** The way from the data to a value in it, as one writes it in a program: `data.cart[2]["unit price"]`. */
export function describePath(keys: readonly (string | number)[]): string {
  const steps = keys.map(key =>
    typeof key === 'number'
      ? `[${key}]`
      : /^[A-Za-z_$][\w$]*$/.test(key)
        ? `.${key}`
        : `[${JSON.stringify(key)}]`,
  );
  return `data${steps.join('')}`;
}
