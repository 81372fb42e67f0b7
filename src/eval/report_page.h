#pragma once

namespace orrery::report {

// The page's style and script, as they are; report.cpp puts the contents between them.

inline constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --ink: #1c2330; --paper: #fbfaf7; --soft: #5d6675; --rule: #d9d6cc;
  --first: #2f6fb0; --second: #c8702a; --good: #2c8a57; --bad: #b8403a; --card: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --paper: #14171c; --soft: #9aa3b1; --rule: #2d333d;
  --first: #6fb0f0; --second: #f0a566; --good: #5fc98d; --bad: #f0827b; --card: #1b2027; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1080px; padding: 2rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .6rem; max-width: 40em }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .5rem }
p { max-width: 46em; margin: .4rem 0; } .soft { color: var(--soft) }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
td { vertical-align: top } td:not(:last-child) { white-space: nowrap } .wide { overflow-x: auto }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--rule) }
th { color: var(--soft); font-weight: 500; font-size: .88rem }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 1rem }
figure { margin: 0; padding: .9rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px }
figcaption { font-size: .88rem; color: var(--soft) }
svg { width: 100%; height: auto } svg text { fill: var(--soft); font: 11px system-ui, sans-serif }
.grid { stroke: var(--rule) } .mark { stroke: var(--second); stroke-dasharray: 4 3 }
.line { fill: none; stroke-width: 2 } .band { opacity: .16; stroke: none } .bar { fill: var(--first); opacity: .75 }
.line.first { stroke: var(--first) } .line.second { stroke: var(--second) }
.band.first { fill: var(--first) } .band.second { fill: var(--second) }
.controls { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: center; margin: .8rem 0 }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: .9rem }
.film { padding: .6rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  border-left: 4px solid var(--good) }
.film.failed { border-left-color: var(--bad) } .film canvas { width: 100%; display: block; cursor: pointer }
.film canvas:focus-visible { outline: 2px solid var(--first); outline-offset: 2px } .film canvas.paused { opacity: .6 }
.film .title { display: flex; justify-content: space-between; gap: .6rem; font-size: .84rem; white-space: nowrap; margin-bottom: .3rem }
.film .title b { color: var(--good) } .film.failed .title b { color: var(--bad) }
.film .names { display: grid; grid-template-columns: repeat(3, 1fr); column-gap: 3.85%; font-size: .76rem;
  color: var(--soft) }
.film .said { font-size: .84rem; font-variant-numeric: tabular-nums; min-height: 3.1em } .hidden { display: none }
)css";

inline constexpr const char* kScript = R"js(
(() => {
  const holder = document.getElementById('films-data');
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const list = document.getElementById('films'), players = [];
  const picture = source => { const image = new Image(); image.src = source; return image; };
  const galleries = data.galleries.map(g => ({ image: picture(g.sprite), columns: g.columns, w: g.w, h: g.h }));

  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;

  function tile(context, sheet, index, x, width, height) {
    if (!sheet.image.complete || !sheet.image.naturalWidth || !(index >= 0)) return;
    const sx = (index % sheet.columns) * sheet.w, sy = Math.floor(index / sheet.columns) * sheet.h;
    context.drawImage(sheet.image, sx, sy, sheet.w, sheet.h, x, 0, width, height);
  }

  for (const episode of data.episodes) {
    const box = document.createElement('div'), last = episode.frames - 1;
    box.className = 'film' + (episode.success ? '' : ' failed');
    box.dataset.success = episode.success ? 'yes' : 'no';
    box.innerHTML = '<div class="title"><span></span><b></b></div><canvas tabindex="0" role="button"></canvas>' +
      '<div class="names"><span>agent</span><span>goal</span><span>imagined</span></div><div class="said"></div>';
    list.appendChild(box);
    const canvas = box.querySelector('canvas'), said = box.querySelector('.said');
    box.querySelector('.title span').textContent = `episode ${episode.name}`;
    box.querySelector('.title b').textContent = !episode.success ? '\u2717 not reached' :
      episode.solved ? '\u2713 began at the goal' : `\u2713 reached at step ${last}`;
    canvas.setAttribute('aria-label', `film of episode ${episode.name}: pause or go on`);

    // three pictures with an eighth of their width between them
    const sheet = { image: picture(episode.sprite), columns: episode.columns, w: episode.w, h: episode.h };
    const width = Math.max(episode.w, 112), height = Math.round(width * episode.h / episode.w);
    canvas.width = 3.25 * width; canvas.height = height;
    const context = canvas.getContext('2d');
    const player = { step: 0, visible: false, paused: still, draw() {
      const step = Math.min(player.step, last);
      context.clearRect(0, 0, canvas.width, canvas.height);
      tile(context, sheet, step, 0, width, height);
      tile(context, sheet, episode.goal, 1.125 * width, width, height);

      // the last step belongs to the block that led to it
      const acting = Math.max(0, Math.min(step, last - 1));
      const plan = episode.plans.filter(p => p.step <= acting).pop();
      let doing = '';
      if (plan) {
        const block = Math.floor((acting - plan.step) / episode.block);
        tile(context, galleries[episode.run], plan.nearest[block], 2.25 * width, width, height);
        doing = `, block ${block + 1} of the plan made at step ${plan.step} (cost ${plan.cost})`;
      }
      said.textContent = `step ${step} of ${last}${doing}; distance to the goal ${episode.distances[step] ?? "?"}, at first ${episode.distances[0] ?? "?"}` +
        (episode.random ? '; the random policy got there too' : '');
    }, next() { player.step = (player.step + 1) % (episode.frames + 8); } };
    const toggle = () => { player.paused = !player.paused; canvas.classList.toggle('paused', player.paused); };
    canvas.classList.toggle('paused', player.paused);
    canvas.onclick = toggle;
    canvas.onkeydown = event => { if (event.key === ' ' || event.key === 'Enter') { event.preventDefault(); toggle(); } };
    sheet.image.onload = () => player.draw();
    new IntersectionObserver(entries => { player.visible = entries[entries.length - 1].isIntersecting; }).observe(box);
    players.push(player);
  }
  galleries.forEach(g => { g.image.onload = () => players.forEach(p => p.draw()); });

  const speed = document.getElementById('speed');
  const tick = () => {
    for (const p of players) if (p.visible && !p.paused) { p.next(); p.draw(); }
    setTimeout(tick, 1000 / Number(speed.value));
  };
  tick();
  for (const choice of document.querySelectorAll('input[name=show]')) choice.onchange = () => {
    for (const box of list.children) box.classList.toggle('hidden', choice.value !== 'all' && box.dataset.success !== choice.value);
  };
})();
)js";

}  // namespace orrery::report
