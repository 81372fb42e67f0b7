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
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid var(--rule) }
th { color: var(--soft); font-weight: 500; font-size: .88rem }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1rem }
figure { margin: 0; padding: .9rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px }
figcaption { font-size: .88rem; color: var(--soft) }
svg { width: 100%; height: auto } svg text { fill: var(--soft); font: 11px system-ui, sans-serif }
.grid { stroke: var(--rule) } .mark { stroke: var(--second); stroke-dasharray: 4 3 }
.line { fill: none; stroke-width: 2 } .band { opacity: .16; stroke: none } .bar { fill: var(--first); opacity: .75 }
.line.first { stroke: var(--first) } .line.second { stroke: var(--second) }
.band.first { fill: var(--first) } .band.second { fill: var(--second) }
.controls { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; align-items: center; margin: .8rem 0 }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: .9rem }
.film { padding: .6rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  border-left: 4px solid var(--good) }
.film.failed { border-left-color: var(--bad) } .film canvas { width: 100%; display: block; cursor: pointer;
  image-rendering: auto; background: #000 }
.film .names { display: grid; grid-template-columns: repeat(3, 1fr); font-size: .76rem; color: var(--soft) }
.film .said { font-size: .84rem; font-variant-numeric: tabular-nums } .hidden { display: none }
)css";

inline constexpr const char* kScript = R"js(
(() => {
  const holder = document.getElementById('films-data');
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const list = document.getElementById('films'), players = [];
  const picture = source => { const image = new Image(); image.src = source; return image; };
  const galleries = data.galleries.map(g => ({ image: picture(g.sprite), columns: g.columns, w: g.w, h: g.h }));

  function tile(context, sheet, index, x, side) {
    if (!sheet.image.complete || index < 0) return;
    const sx = (index % sheet.columns) * sheet.w, sy = Math.floor(index / sheet.columns) * sheet.h;
    context.drawImage(sheet.image, sx, sy, sheet.w, sheet.h, x, 0, side, side);
  }

  for (const episode of data.episodes) {
    const box = document.createElement('div');
    box.className = 'film' + (episode.success ? '' : ' failed');
    box.dataset.success = episode.success ? 'yes' : 'no';
    box.innerHTML = '<canvas></canvas><div class="names"><span>agent</span><span>goal</span><span>imagined</span></div>' +
      '<div class="said"></div>';
    list.appendChild(box);
    const canvas = box.querySelector('canvas'), said = box.querySelector('.said');
    const sheet = { image: picture(episode.sprite), columns: episode.columns, w: episode.w, h: episode.h };
    const side = Math.max(episode.w, 112);
    canvas.width = side * 3 + 8; canvas.height = side;
    const context = canvas.getContext('2d');
    const player = { step: 0, visible: false, paused: false, draw() {
      const last = episode.frames - 1, step = Math.min(player.step, last);
      context.clearRect(0, 0, canvas.width, canvas.height);
      tile(context, sheet, step, 0, side);
      tile(context, sheet, episode.frames, side + 4, side);
      const plan = episode.plans.filter(p => p.step <= step).pop();
      let block = 0;
      if (plan) {
        block = Math.min(plan.nearest.length, Math.floor((step - plan.step) / data.block) + 1);
        tile(context, galleries[episode.run], plan.nearest[block - 1], 2 * side + 8, side);
      }
      said.textContent = `episode ${episode.name}: step ${step} of ${last}, ${episode.success ?
        (episode.solved ? 'began at the goal' : 'reached') : 'not reached'}; distance ${episode.from} \u2192 ${episode.to}` +
        (plan ? `; plan at step ${plan.step}, cost ${plan.cost}` : '');
    }, next() { player.step = (player.step + 1) % (episode.frames + 8); } };
    sheet.image.onload = () => player.draw();
    canvas.onclick = () => { player.paused = !player.paused; };
    new IntersectionObserver(entries => { player.visible = entries[0].isIntersecting; }).observe(box);
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
