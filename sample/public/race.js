/** Fires all requests of a race at once and shows how many of them counted. */

const post = async path => {
  const response = await fetch(path, { method: 'POST' });
  if (!response.ok) {
    throw new Error(`The server answered ${response.status}`);
  }
};

async function run(panel) {
  const show = (name, text) => {
    panel.querySelector(`[data-${name}]`).textContent = text;
  };
  const dots = [...panel.querySelectorAll('.dots i')];
  dots.forEach(dot => {
    dot.className = '';
  });
  show('sent', '0');
  show('counted', '…');
  show('verdict', '');

  await post('/lab/race/reset');
  let answered = 0;
  await Promise.all(
    dots.map(async () => {
      await post(panel.dataset.race);
      dots[answered].className = 'sent';
      answered += 1;
      show('sent', String(answered));
    }),
  );

  const { count } = await (await fetch('/lab/race/count')).json();
  dots.forEach((dot, index) => {
    dot.className = index < count ? 'counted' : 'lost';
  });
  show('counted', String(count));
  const lost = dots.length - count;
  show('verdict', lost === 0 ? 'Nothing lost.' : `${lost} of ${dots.length} lost.`);
}

const panels = [...document.querySelectorAll('[data-race]')];
const buttons = panels.map(panel => panel.querySelector('button'));

panels.forEach((panel, index) => {
  buttons[index].hidden = false;
  buttons[index].addEventListener('click', async () => {
    // Both races count in the same place, so they take turns.
    buttons.forEach(button => {
      button.disabled = true;
    });
    try {
      await run(panel);
    } catch (error) {
      panel.querySelector('[data-verdict]').textContent = error.message;
    }
    buttons.forEach(button => {
      button.disabled = false;
    });
  });
});
