/** Binds the player to the node 'View Clip'. */

import { Player } from "./player.js";

const LEAST_HEIGHT = 320; // pixels of the player, as in style.css
const SIZE = [420, 620]; // of a new node
const KEPT = 32;

/**
 * What nodes show, by the place of the node: undo creates every node anew, and ComfyUI shows nothing again by itself.
 * The latest stand last.
 * @type {Map<string, {player: Player, view: import("./model.js").View | null}>}
 */
const shown = new Map();

/**
 * Gives a node its player, which shows what each execution brings. Never throws.
 * @param {object} node of class SkyCanvasView, just created
 * @param {typeof import("../comfy.js")} comfy
 */
export function attachView(node, comfy) {
  comfy.attempt(() => attach(node, comfy));
}

function attach(node, comfy) {
  comfy.addStyle("./result/style.css");
  const player = new Player(comfy.server);
  comfy.addElement(node, "view", "SKYCANVAS_VIEW", player.root, LEAST_HEIGHT);
  // ComfyUI's own player would stand beside ours: in Nodes 2.0, and in classic nodes
  node.hideOutputImages = true;
  node.onDrawBackground = () => {};
  node.setSize?.(node.size.map((side, axis) => Math.max(side, SIZE[axis])));
  const keep = (view) => {
    const place = comfy.placeOf(node);
    shown.delete(place);
    shown.set(place, { player, view });
    if (shown.size > KEPT) shown.delete(shown.keys().next().value);
  };
  comfy.chain(node, "onAdded", () => {
    const before = shown.get(comfy.placeOf(node));
    keep(before?.view ?? null);
    if (!before || before.player === player) return;
    // Nodes 2.0 keep what they have mounted for a node of that number, though it is another node now
    before.player.root.replaceWith(player.root);
    player.show(before.view, before.player.settings);
  });
  comfy.chain(node, "onExecuted", (output) => {
    const [view] = output?.skycanvas_view ?? [];
    if (!view) return;
    player.show(view);
    keep(view);
  });
  comfy.chain(node, "onRemoved", () => player.destroy());
}
