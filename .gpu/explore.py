import json,math,os,sys,time,numpy as np,torch
from torch import nn
from latentkit.models.convolutions import Encoder,Decoder,Convolution
from latentkit.models.nets import Dense
dev='cuda' if torch.cuda.is_available() else 'cpu'
FAST=float(os.environ.get('FAST','1'))
OUT=open(os.path.join(os.environ.get('OUT','/tmp'),'explore.jsonl'),'a')
T0=time.time()
d=np.load('.gpu/d.npz'); X=torch.tensor(d['x'].astype(np.float32),device=dev); Y=torch.tensor(d['y'].astype(np.float32),device=dev)
area=torch.cos(torch.deg2rad(torch.tensor(d['lat'],device=dev,dtype=torch.float32)))[:,None].expand(16,64)
TR,VA=slice(0,5),slice(5,6)
F=(X*area.sqrt()).flatten(2); Ft=F[TR].reshape(-1,1024)
U,S,V=torch.linalg.svd(Ft,full_matrices=False); n=len(Ft)
def pcs(K): return F@V[:K].T/(S[:K]/n**.5)
Yt,Yv=Y[TR].reshape(-1,16,64),Y[VA].reshape(-1,16,64); mu=Yt.mean(0); sd=Yt.std(0)
Xt,Xv=X[TR].reshape(-1,16,64),X[VA].reshape(-1,16,64)
def r2(f):
    e=(f-Yv).square().mean(0); v=(Yv-Yv.mean(0)).square().mean(0); r=(1-e/v).clamp_min(-1); return round(float((r*area).sum()/area.sum()),4)
def r2t(f): 
    e=(f-Yt).square().mean(0); r=1-e/Yt.var(0); return round(float((r*area).sum()/area.sum()),4)
one=lambda p: torch.cat([p,torch.ones(len(p),1,device=dev)],1)
def ols(K,ridge=0.):
    P=pcs(K); a=one(P[TR].reshape(-1,K)).double(); A=a.T@a+ridge*torch.eye(K+1,device=dev); B=torch.linalg.solve(A,a.T@Yt.flatten(1).double())
    f=(one(P[VA].reshape(-1,K)).double()@B).float().reshape(-1,16,64); return f,B
def log(name,**k):
    s=json.dumps({"run":name,**k,"t":round(time.time()-T0)}); print(s,flush=True); OUT.write(s+'\n'); OUT.flush()
for K in (100,150,250,400,600):
    for rd in (0.,100.,400.):
        f,_=ols(K,rd); log('ols',K=K,ridge=rd,r2=r2(f),clip=r2(f.clamp_min(0)))
gen=lambda s:[torch.Generator().manual_seed(i) for i in range(s)]
W=(area/area.mean())
def optimize(params,loss,steps,lr,wd=0.):
    opt=torch.optim.AdamW(params,lr=lr,weight_decay=wd,fused=dev=='cuda')
    for i in range(steps):
        g=lr*min((i+1)/(0.02*steps+1),.5*(1+math.cos(math.pi*i/steps)))
        for q in opt.param_groups: q['lr']=g
        opt.zero_grad(set_to_none=True); l=loss(i); l.sum().backward(); opt.step()
class Net(nn.Module):
    def __init__(s,kind,K,k,widths,S,hidden=512):
        super().__init__(); s.kind,s.k=kind,k; r=gen(S)
        if kind.startswith('conv'):
            s.enc=Encoder((1,16,64),widths,2*k,r,circular=True); s.dec=Decoder(k,(1,16,64),widths,r,circular=True)
        else:
            s.e1,s.e2=Dense(1024,hidden,r),Dense(hidden,2*k,r); s.d1,s.d2=Dense(k,hidden,r),Dense(hidden,1024,r)
        s.h=Dense(K,k,r)
        if 'lin' in kind: s.elin=Dense(1024,k,r); s.dlin=Dense(k,1024,r); s.gate=nn.Parameter(torch.full((S,1,1,1),.1))
    def code(s,y): # (s,n,16,64) standardized
        if s.kind.startswith('conv'): o=s.enc(y[:,:,None])
        else: o=s.e2(nn.functional.leaky_relu(s.e1(y.flatten(2)),.2))
        m,l=o.chunk(2,-1); l=-6+nn.functional.softplus(l+6)
        if 'lin' in s.kind: m=m+s.elin(y.flatten(2))
        return m,l
    def decode(s,z):
        f=s.dec(z)[:,:,0] if s.kind.startswith('conv') else s.d2(nn.functional.leaky_relu(s.d1(z),.2)).unflatten(-1,(16,64))
        if 'lin' in s.kind: f=s.gate*f+s.dlin(z).unflatten(-1,(16,64))
        if 'pos' in s.kind: f=nn.functional.softplus(4*(f+mu/sd))/4-mu/sd
        return f
def llaae(kind,K,k,passes,alphas,betas,lr=1e-3,wd=0.,standard=True,mode='alternate',widths=(16,32,64),batch=64,drop=0.,hidden=512,noise=False):
    S=len(alphas); torch.manual_seed(0); t=time.time()
    net=Net(kind,K,k,widths,S,hidden).to(dev); sc=sd if standard else torch.ones_like(sd); w=W*sc**2
    if not standard and 'pos' in kind: raise ValueError
    Q=(Yt-mu)/sc; P=pcs(K); Pt,Pv=P[TR].reshape(-1,K),P[VA].reshape(-1,K)
    al,be=torch.tensor(alphas,device=dev),torch.tensor(betas,device=dev)
    per=n//batch; steps=max(2,int(passes*per*FAST)); order=None
    def loss(i):
        nonlocal order
        if i%per==0: order=torch.rand(S,n,device=dev).argsort(1)
        idx=order[:,(i%per)*batch:(i%per+1)*batch]; y,p=Q[idx],Pt[idx]
        if drop: p=nn.functional.dropout(p,drop)
        m,l=net.code(y)
        if mode=='alternate' and i%2: return (m.detach()-net.h(p)).square().sum(-1).mean(-1)
        hx=net.h(p)
        if mode=='alternate': hx=hx.detach()
        if noise: hx=hx+ (m-hx).detach().square().mean(1,keepdim=True).sqrt()*torch.randn_like(hx)*noise
        f=net.decode(torch.cat([m+l.exp()*torch.randn_like(m),hx],1))
        own,oth=((a-y).square().mul(w).sum((2,3)).mean(1) for a in f.chunk(2,1))
        kl=(.5*(l.mul(2).exp()+m.square()-1)-l).sum(-1).mean(1)
        tot=own+al*oth+be*kl
        if mode=='joint': tot=tot+(m.detach()-hx).square().sum(-1).mean(-1)
        return tot
    optimize(net.parameters(),loss,steps,lr,wd)
    with torch.no_grad():
        z=torch.cat([net.code(q[None].expand(S,-1,-1,-1))[0] for q in Q.split(512)],1)
        zv=net.code(((Yv-mu)/sc)[None].expand(S,-1,-1,-1))[0]
        a=one(Pt).double(); B=torch.linalg.solve(a.T@a,a.T@z.double()).float()
        rf=one(Pv)@B; h0=net.h(Pv[None].expand(S,-1,-1))
        out={}
        for nm,zz in (('rec',zv),('ref',rf),('h',h0)):
            f=net.decode(zz)*sc+mu; out[nm]=[r2(q) for q in f]; out[nm+'+']=[r2(q.clamp_min(0)) for q in f]
        f=net.decode(net.h(Pt[None].expand(S,-1,-1)))*sc+mu; out['ht']=[r2t(q) for q in f]
        m,l=net.code(((Yv-mu)/sc)[None].expand(S,-1,-1,-1)); kl=(.5*(l.mul(2).exp()+m.square()-1)-l).sum(-1).mean(1).tolist()
        act=((m.std(1)>.2).sum(1)).tolist()
    log('llaae',kind=kind,K=K,k=k,passes=passes,alphas=alphas,betas=betas,lr=lr,wd=wd,std=standard,mode=mode,drop=drop,noise=noise,widths=widths,hidden=hidden,sec=round(time.time()-t,1),steps=steps,kl=[round(q) for q in kl],active=act,**out)
class Direct(nn.Module):
    def __init__(s,c,S,layers):
        super().__init__(); r=gen(S); s.first=Convolution(c,32,r,circular=True); s.mid=nn.ModuleList(Convolution(32,32,r,circular=True) for _ in range(layers)); s.last=Convolution(32,1,r,circular=True)
    def forward(s,x,base): # (S,n,c,y,x)
        q=x.transpose(0,1).flatten(1,2); q=s.first(q)
        for m in s.mid: q=q+m(nn.functional.leaky_relu(q,.2))
        return base+.1*s.last(nn.functional.leaky_relu(q,.2)).transpose(0,1)
def direct(K,layers,passes,lr=1e-3,wd=0.,batch=64,S=2):
    t=time.time(); torch.manual_seed(0); f,B=ols(K); P=pcs(K)
    bt=((one(P[TR].reshape(-1,K)).double()@B).float().reshape(-1,16,64)-mu)/sd; bv=(f-mu)/sd
    ch=lambda x,b: torch.stack([x,b,(mu/sd).expand_as(x),torch.sin(torch.linspace(0,2*math.pi,65,device=dev)[:-1]).expand_as(x),torch.cos(torch.linspace(0,2*math.pi,65,device=dev)[:-1]).expand_as(x),torch.linspace(-1,1,16,device=dev)[:,None].expand_as(x)],1)
    It,Iv=ch(Xt,bt),ch(Xv,bv); Q=(Yt-mu)/sd; net=Direct(6,S,layers).to(dev); per=n//batch; order=None; w=W*sd**2
    def loss(i):
        nonlocal order
        if i%per==0: order=torch.rand(S,n,device=dev).argsort(1)
        idx=order[:,(i%per)*batch:(i%per+1)*batch]
        return (net(It[idx],bt[idx])-Q[idx]).square().mul(w).sum((2,3)).mean(1)
    optimize(net.parameters(),loss,max(2,int(passes*per*FAST)),lr,wd)
    with torch.no_grad():
        f=net(Iv[None].expand(S,-1,-1,-1,-1),bv)*sd+mu; g=f.mean(0)
    log('direct',K=K,layers=layers,passes=passes,wd=wd,sec=round(time.time()-t,1),r2=[r2(q.clamp_min(0)) for q in f],mean=r2(g.clamp_min(0)))
A=[1.,2.,5.,1.,2.,5.]; Bt=[.2,.2,.2,1.,1.,1.]
PLAN=[
 lambda: llaae('conv',150,64,30,A,Bt),
 lambda: direct(250,3,10),
 lambda: llaae('convlin',150,64,30,A,Bt),
 lambda: llaae('mlplin',150,64,30,A,Bt),
 lambda: llaae('convlin',150,64,30,A,Bt,mode='joint'),
 lambda: llaae('convlinpos',150,64,30,A,Bt),
 lambda: llaae('conv',400,200,100,A,Bt),
 lambda: llaae('convlinpos',400,200,30,A,Bt),
 lambda: llaae('convlinpos',250,100,30,A,Bt,mode='joint',drop=.1),
 lambda: llaae('mlplinpos',250,100,30,A,Bt,hidden=256,wd=.1),
 lambda: llaae('convlinpos',250,100,30,A,Bt,noise=1.),
 lambda: direct(250,6,20),
 lambda: llaae('conv',400,400,100,[1.,5.,5.,2.],[1.,.2,.5,.5],standard=False),
 lambda: llaae('convlinpos',250,100,100,A,Bt,wd=.1),
 lambda: llaae('mlplinpos',400,200,30,A,Bt,hidden=512,drop=.1),
 lambda: llaae('convlinpos',250,100,30,[.5,2.,10.,30.,10.,30.],[.02,.02,.02,.02,.2,.2]),
]
LIMIT=float(sys.argv[1])
if len(sys.argv)>2: PLAN=[PLAN[int(i)] for i in sys.argv[2].split(',')]
for p in PLAN:
    if time.time()-T0>LIMIT: log('stop'); break
    try: p()
    except Exception as e:
        import traceback; traceback.print_exc(); log('fail',e=str(e)[:300])
